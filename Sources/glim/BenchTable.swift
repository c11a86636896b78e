import Foundation
import GlimTensor

/// Figures beside what they should be: what the kinds of `glim bench` print that measure the machine's own work.
struct BenchTable: Encodable {
    struct Row: Encodable {
        var name: String
        var measured: Double
        var unit: String
        /// What this machine could do at most, measured beside it, in the same unit.
        var roof: Double?
        /// Of the roof.
        var fraction: Double?
        /// In words: "90% of peak".
        var bar: String?
        var ok: Bool?
    }

    let kind: String
    private(set) var rows: [Row] = []
    private let threads = ThreadPool.shared.threadCount
    private let kernels = KernelSet.name

    init(_ kind: Bench.Kind) { self.kind = kind.rawValue }

    /// Prints the head of the table, and each row as soon as it is known.
    func begin() throws {
        try emit("\(kind), \(threads) threads, \(kernels) kernels\n")
        try emit(line("", "measured", "roof", "of it", "bar", ""))
    }

    mutating func add(_ row: Row) throws {
        rows.append(row)
        try emit(
            line(
                row.name, Self.short(row.measured, row.unit), row.roof.map { Self.short($0, row.unit) } ?? "",
                row.fraction.map { String(format: "%.1f%%", 100 * $0) } ?? "", row.bar ?? "",
                row.ok.map { $0 ? "yes" : "NO" } ?? ""))
    }

    private func line(_ name: String, _ cells: String...) -> String {
        let widths = [16, 16, 8]
        var line = name + String(repeating: " ", count: max(0, 38 - name.count))
        for (width, cell) in zip(widths, cells) {
            line += String(repeating: " ", count: max(1, width - cell.count)) + cell
        }
        line += "   " + cells[3].padding(toLength: 20, withPad: " ", startingAt: 0) + cells[4]
        while line.last == " " { line.removeLast() }
        return line + "\n"
    }

    private static func short(_ number: Double, _ unit: String) -> String {
        if unit == "s", number < 0.1 { return String(format: "%.2f us", number * 1e6) }
        return BenchReport.short(number) + unit
    }
}
