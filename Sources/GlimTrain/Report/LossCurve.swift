public import Foundation
import GlimCheckpoint

/// The course of training as a picture: training loss thin, its running mean on top, validation as dots.
///
/// The SVG needs nothing around it, has no scripts or fonts of its own, and follows the reader's light or dark mode.
public struct LossCurve: Sendable, Equatable {
    /// A loss at a place of the run.
    public struct Point: Sendable, Equatable {
        public var x: Double
        public var y: Double

        public init(x: Double, y: Double) { (self.x, self.y) = (x, y) }
    }

    public var title: String
    public var xLabel: String
    public var yLabel: String
    public var training: [Point]
    public var validation: [Point]

    public init(
        title: String, xLabel: String = "tokens", yLabel: String = "loss (nats per token)", training: [Point],
        validation: [Point] = []
    ) {
        (self.title, self.xLabel, self.yLabel) = (title, xLabel, yLabel)
        (self.training, self.validation) = (training, validation)
    }

    /// The curve of a log, over tokens.
    public init(title: String, metrics: [StepMetrics]) {
        self.init(
            title: title, training: metrics.map { Point(x: Double($0.tokens), y: $0.loss) },
            validation: metrics.compactMap { line in
                line.validationLoss.map { Point(x: Double(line.tokens), y: $0) }
            })
    }

    /// In pixels; the picture scales with the page.
    private static let size = (width: 760.0, height: 400.0)

    public func svg() -> String {
        let size = Self.size
        // A point that is not a number is a gap in training, so it must not be drawn at 0.
        let drawn = training.filter { $0.x.isFinite }
        let thin = Self.thinned(drawn, count: 600)
        let smooth = Self.thinned(Self.smoothed(drawn), count: 300)
        let dots = Self.thinned(validation.filter { $0.x.isFinite && $0.y.isFinite }, count: 200)
        let frame = Frame(thin: thin, smooth: smooth, dots: dots, width: size.width, height: size.height)

        var svg = """
            <svg xmlns="http://www.w3.org/2000/svg" class="glim-curve" \
            viewBox="0 0 \(Markup.coordinate(size.width)) \(Markup.coordinate(size.height))" \
            role="img" aria-label="\(Markup.escape(title))">
            <style>\(Self.style)</style>
            <text class="title" x="\(Markup.coordinate(Frame.leftMargin))" y="24">\(Markup.escape(title))</text>

            """
        svg += axes(frame)
        if let frame {
            svg += Self.line("thin", thin, frame) + Self.line("smooth", smooth, frame)
            for dot in dots {
                svg += "<circle class=\"dot\" cx=\"\(frame.x(dot.x))\" cy=\"\(frame.y(dot.y))\" r=\"3.5\"/>\n"
            }
            svg += legend(frame, hasDots: !dots.isEmpty)
        } else {
            let (x, y) = (Markup.coordinate(size.width / 2), Markup.coordinate(size.height / 2))
            svg += "<text class=\"label\" text-anchor=\"middle\" x=\"\(x)\" y=\"\(y)\">no steps yet</text>\n"
        }
        return svg + "</svg>\n"
    }

    /// Writes the picture to a file, e.g. `DIR/loss.svg`.
    public func write(to file: URL) throws(ReportError) {
        do { try AtomicFile.write(svg(), to: file) } catch { throw .cannotWrite(file.path, why: error.reason) }
    }
}
