import Foundation

/// One thing looked at.
struct Finding: Encodable, Equatable {
    enum Status: String, Encodable {
        case good
        /// Works, and something would work better.
        case fair
        /// Something will not work.
        case poor
    }

    var name: String
    var status: Status
    var found: String
    /// What to do, in one sentence; nil when there is nothing.
    var advice: String?

    var text: String {
        let mark = [Status.good: "ok  ", .fair: "note", .poor: "bad "][status] ?? ""
        let line = "\(mark)  \(name.padding(toLength: 12, withPad: " ", startingAt: 0))  \(found)"
        return advice.map { line + "\n" + String(repeating: " ", count: 20) + $0 } ?? line
    }
}
