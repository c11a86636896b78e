import Foundation

extension LossCurve {
    /// Where numbers lie on the page.
    struct Frame {
        let left: Double
        let right: Double
        let top: Double
        let bottom: Double
        let xRange: ClosedRange<Double>
        let yRange: ClosedRange<Double>

        /// Nil when there is nothing to draw.
        init?(thin: [Point], smooth: [Point], dots: [Point], width: Double, height: Double) {
            let all = (thin + smooth + dots).filter { $0.y.isFinite }
            guard !all.isEmpty else { return nil }
            (left, right, top, bottom) = (Frame.leftMargin, width - 20, 44, height - 48)
            let firstX = all.map(\.x).min() ?? 0
            let lastX = all.map(\.x).max() ?? 0
            // A run that starts near the beginning is drawn from the beginning.
            xRange = Frame.padded(firstX >= 0 && firstX < lastX / 10 ? [0, lastX] : [firstX, lastX], by: 0)
            // The thin line's rare spikes would flatten everything else; they are clamped to the edge instead.
            let usual = thin.map(\.y).filter(\.isFinite).sorted()
            let cut = usual.count / 50
            let calm = usual.dropFirst(cut).dropLast(cut)
            // The very first loss is no spike: it is where the run began.
            let first = thin.first.map(\.y).map { [$0] } ?? []
            yRange = Frame.padded((first + calm + (smooth + dots).map(\.y)).filter(\.isFinite), by: 0.04)
        }

        static let leftMargin = 62.0

        private static func padded(_ values: [Double], by share: Double) -> ClosedRange<Double> {
            let (low, high) = (values.min() ?? 0, values.max() ?? 1)
            guard high > low else {
                let margin = max(abs(low) * 0.05, 0.5)
                return low - margin...high + margin
            }
            let margin = (high - low) * share
            return low - margin...high + margin
        }

        func x(_ value: Double) -> String { place(value, xRange, left, right) }
        func y(_ value: Double) -> String { place(value, yRange, bottom, top) }

        private func place(_ value: Double, _ range: ClosedRange<Double>, _ from: Double, _ to: Double) -> String {
            let share = (value - range.lowerBound) / (range.upperBound - range.lowerBound)
            return Markup.coordinate(from + min(max(share, 0), 1) * (to - from))
        }
    }

    // MARK: - Parts

    func axes(_ frame: Frame?) -> String {
        guard let frame else { return "" }
        let (left, right) = (Markup.coordinate(frame.left), Markup.coordinate(frame.right))
        let bottom = Markup.coordinate(frame.bottom)
        var svg = ""
        for tick in Self.ticks(frame.yRange, count: 6) {
            let y = frame.y(tick.value)
            svg += "<path class=\"grid\" d=\"M\(left) \(y)H\(right)\"/>\n"
            svg += "<text class=\"tick\" text-anchor=\"end\" x=\"\(Markup.coordinate(frame.left - 8))\" y=\"\(y)\" "
            svg += "dy=\"0.32em\">\(tick.label)</text>\n"
        }
        for tick in Self.ticks(frame.xRange, count: 7) {
            let x = frame.x(tick.value)
            svg += "<path class=\"axis\" d=\"M\(x) \(bottom)v5\"/>\n"
            svg += "<text class=\"tick\" text-anchor=\"middle\" x=\"\(x)\" "
            svg += "y=\"\(Markup.coordinate(frame.bottom + 19))\">\(tick.label)</text>\n"
        }
        let middle = (x: (frame.left + frame.right) / 2, y: (frame.top + frame.bottom) / 2)
        svg += "<path class=\"axis\" d=\"M\(left) \(Markup.coordinate(frame.top))V\(bottom)H\(right)\"/>\n"
        svg += "<text class=\"label\" text-anchor=\"middle\" x=\"\(Markup.coordinate(middle.x))\" "
        svg += "y=\"\(Markup.coordinate(frame.bottom + 38))\">\(Markup.escape(xLabel))</text>\n"
        svg += "<text class=\"label\" text-anchor=\"middle\" "
        svg +=
            "transform=\"translate(16 \(Markup.coordinate(middle.y))) rotate(-90)\">\(Markup.escape(yLabel))</text>\n"
        return svg
    }

    func legend(_ frame: Frame, hasDots: Bool) -> String {
        let right = frame.right
        var svg = "<g class=\"legend\">"
        var x = right - (hasDots ? 178 : 88)
        svg += "<path class=\"smooth\" d=\"M\(Markup.coordinate(x)) 20h20\"/>"
        svg += "<text class=\"tick\" x=\"\(Markup.coordinate(x + 26))\" y=\"20\" dy=\"0.32em\">training</text>"
        if hasDots {
            x += 96
            svg += "<circle class=\"dot\" cx=\"\(Markup.coordinate(x))\" cy=\"20\" r=\"3.5\"/>"
            svg += "<text class=\"tick\" x=\"\(Markup.coordinate(x + 10))\" y=\"20\" dy=\"0.32em\">validation</text>"
        }
        return svg + "</g>\n"
    }

    /// A line through points, broken where there is no number; a lone point becomes a dot by its round ends.
    static func line(_ name: String, _ points: [Point], _ frame: Frame) -> String {
        var path = ""
        var isPenDown = false
        for (i, point) in points.enumerated() {
            guard point.y.isFinite else {
                isPenDown = false
                continue
            }
            let isAlone = !isPenDown && (i + 1 == points.count || !points[i + 1].y.isFinite)
            path += "\(isPenDown ? "L" : "M")\(frame.x(point.x)) \(frame.y(point.y))" + (isAlone ? "h0" : "")
            isPenDown = true
        }
        return path.isEmpty ? "" : "<path class=\"\(name)\" d=\"\(path)\"/>\n"
    }

    // MARK: - Numbers

    /// At most `count` points, each the mean of neighbours; a group without any number stays a gap.
    package static func thinned(_ points: [Point], count: Int) -> [Point] {
        guard points.count > count else { return points }
        return (0..<count).map { i in
            let group = points[i * points.count / count..<(i + 1) * points.count / count]
            let known = group.filter { $0.y.isFinite }
            guard !known.isEmpty else { return Point(x: group[group.startIndex].x, y: .nan) }
            let n = Double(known.count)
            return Point(x: known.reduce(0) { $0 + $1.x / n }, y: known.reduce(0) { $0 + $1.y / n })
        }
    }

    /// The exponential running mean over about a fiftieth of the points, corrected for its start, and taken in both
    /// directions: one alone would trail behind the fast fall at the beginning.
    package static func smoothed(_ points: [Point]) -> [Point] {
        let known = points.filter { $0.y.isFinite }
        let decay = 1 - 2 / (max(4, Double(known.count) / 50) + 1)
        func mean(_ values: [Double]) -> [Double] {
            var (mean, weight) = (0.0, 0.0)
            return values.map { value in
                mean = decay * mean + (1 - decay) * value
                weight = decay * weight + (1 - decay)
                return mean / weight
            }
        }
        let forward = mean(known.map(\.y))
        let backward = mean(known.reversed().map(\.y)).reversed()
        return zip(known, zip(forward, backward)).map { point, means in
            Point(x: point.x, y: means.0 / 2 + means.1 / 2)
        }
    }

    /// Round numbers across a range, about `count` of them, with labels of as many digits as tell them apart.
    package static func ticks(_ range: ClosedRange<Double>, count: Int) -> [(value: Double, label: String)] {
        let rough = (range.upperBound - range.lowerBound) / Double(max(count, 1))
        guard rough.isFinite, rough > 0 else { return [] }
        let power = pow(10, floor(log10(rough)))
        let step = ([1.0, 2, 5].first { $0 * power >= rough } ?? 10) * power
        guard step.isFinite, step > 0 else { return [] }
        let first = (range.lowerBound / step).rounded(.up)
        let largest = max(abs(range.lowerBound), abs(range.upperBound))
        var ticks: [(value: Double, label: String)] = []
        for i in 0..<(3 * max(count, 1)) {
            let value = (first + Double(i)) * step
            guard value <= range.upperBound else { break }
            ticks.append((value, label(value, step: step, largest: largest)))
        }
        return ticks
    }

    /// The unit is that of the whole axis, so that its labels compare at a glance; 0 needs none.
    private static func label(_ value: Double, step: Double, largest: Double) -> String {
        guard abs(value) > step / 2 else { return fixed(0, step: step < 1 ? step : 1) }
        let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]
        guard largest < 1e18, let (unit, name) = units.first(where: { largest >= $0.0 && step >= $0.0 / 100 }) else {
            return fixed(value, step: step)
        }
        return fixed(value / unit, step: step / unit) + name
    }

    private static func fixed(_ value: Double, step: Double) -> String {
        guard abs(value) < 1e18, step > 1e-9 else { return "\(value)" }
        let digits = max(0, Int((-log10(step) - 1e-9).rounded(.up)))
        return String(format: "%.\(min(digits, 9))f", value)
    }

    static let style = """
        .glim-curve{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;--ink:#1f2328;--soft:#656d76;\
        --rule:#d8dee4;--blue:#2563eb;--red:#c2410c;max-width:100%;height:auto}\
        @media(prefers-color-scheme:dark){.glim-curve{--ink:#e6edf3;--soft:#9198a1;--rule:#30363d;\
        --blue:#6ea8fe;--red:#ffa657}}\
        .glim-curve .title{fill:var(--ink);font-weight:600;font-size:15px}\
        .glim-curve .tick{fill:var(--soft);font-size:12px}.glim-curve .label{fill:var(--soft)}\
        .glim-curve path{fill:none;stroke-linejoin:round;stroke-linecap:round}\
        .glim-curve .grid{stroke:var(--rule);stroke-width:1}.glim-curve .axis{stroke:var(--soft);stroke-width:1}\
        .glim-curve .thin{stroke:var(--blue);stroke-width:1;opacity:.35}\
        .glim-curve .smooth{stroke:var(--blue);stroke-width:2}.glim-curve .dot{fill:var(--red)}
        """
}
