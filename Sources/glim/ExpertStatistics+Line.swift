import Foundation
import GlimModel

extension ExpertStream.Statistics {
    /// For people.
    var line: String {
        func percent(_ part: Int) -> String { "\(Int((100 * Double(part) / Double(max(1, needed))).rounded()))%" }
        return "experts: \(percent(held)) were in memory when they were needed (\(percent(guessed)) foreseen); "
            + "\(BenchReport.short(Double(readByteCount)))B read, "
            + String(format: "%.1f s waited for", waited / .seconds(1))
    }
}
