import Foundation
import GlimTensor

/// What was found out about one kernel table: what a process leaves for the one that started it, and what is printed.
struct KernelReport: Codable {
    enum Status: String, Codable {
        /// To the reference, in every bit.
        case equal
        case differs
        /// Also what stands there until the process comes to its end.
        case crashed
        /// No table was had.
        case refused
    }

    /// How fast something is, and what this machine could do at most, in the same unit.
    struct Figure: Codable {
        var name: String
        var measured: Double
        var unit: String
        var roof: Double
        /// "peak" or "bandwidth".
        var boundBy: String
        var fraction: Double

        enum CodingKeys: String, CodingKey {
            case name, measured, unit, roof, fraction
            case boundBy = "bound_by"
        }
    }

    var name: String
    /// The shared library it came from.
    var file: String?
    /// The kernels that are its own.
    var kernels: [String] = []
    var status: Status
    /// Why it was refused, what it died of, or when it differs.
    var reason: String?
    var failures: [KernelTable.Failure] = []
    var checkSeconds = 0.0
    var figures: [Figure] = []

    init(name: String, file: String? = nil, kernels: [String] = [], status: Status, reason: String? = nil) {
        (self.name, self.file, self.kernels, self.status, self.reason) = (name, file, kernels, status, reason)
    }

    enum CodingKeys: String, CodingKey {
        case name, file, kernels, status, reason, failures, figures
        case checkSeconds = "check_seconds"
    }
}

extension KernelReport {
    /// The first thing that is wrong.
    var trouble: String {
        let more = failures.count > 1 ? ", and \(failures.count - 1) more ways" : ""
        return [reason, failures.first.map { "\($0)\(more)" }].compactMap(\.self).joined(separator: ": ")
    }

    /// A paragraph: the table, then what is wrong, or how fast it is.
    var text: String {
        let all = KernelTable.kernelNames.count
        let parts = kernels.count <= 8 ? " (\(kernels.joined(separator: ", ")))" : ""
        let given =
            switch kernels.count {
            case 0: ""
            case 1: ", 1 kernel of \(all)\(parts), the rest Glim's"
            case all: ", \(all) kernels"
            default: ", \(kernels.count) kernels of \(all)\(parts), the rest Glim's"
            }
        let verdict =
            switch status {
            case .equal: "equal to the reference in every bit, " + String(format: "%.1f s", checkSeconds)
            case .differs, .crashed, .refused: "FAILED" + (reason.map { ": \($0)" } ?? "")
            }
        let lines = failures.map { "    \($0)" } + figures.map(\.line)
        let head = name + (file.map { ", \($0)" } ?? "") + given
        return (["\(head): \(verdict)"] + lines).joined(separator: "\n") + "\n"
    }
}

extension KernelReport.Figure {
    fileprivate var line: String {
        func left(_ text: String, _ width: Int) -> String { text.padding(toLength: width, withPad: " ", startingAt: 0) }
        func right(_ text: String, _ width: Int) -> String {
            String(repeating: " ", count: max(0, width - text.count)) + text
        }
        return "    " + left(name, 38) + right(BenchReport.short(measured) + unit, 16)
            + right(String(format: "%.1f%%", 100 * fraction), 9) + " of the \(boundBy), "
            + BenchReport.short(roof) + unit
    }
}
