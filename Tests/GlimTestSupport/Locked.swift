import Foundation

/// A value that threads take turns at.
///
/// Not the standard library's `Mutex`: the thread sanitizer does not see the system calls that one waits by, and would
/// report every turn as a race.
// @unchecked: the value is touched by whoever holds the lock only.
public final class Locked<Value>: @unchecked Sendable {
    private var value: Value
    private let lock = NSLock()

    public init(_ value: Value) { self.value = value }

    public func withLock<R>(_ body: (inout Value) throws -> R) rethrows -> R {
        lock.lock()
        defer { lock.unlock() }
        return try body(&value)
    }
}
