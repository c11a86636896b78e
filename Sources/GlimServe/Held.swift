import Synchronization

/// A value that several tasks look at and set: a `Mutex` that can be handed on.
final class Held<Value: Sendable>: Sendable {
    private let held: Mutex<Value>

    init(_ value: Value) { held = Mutex(value) }

    var value: Value { held.withLock { $0 } }

    /// - Returns: what was there before.
    @discardableResult
    func set(_ value: Value) -> Value {
        held.withLock { held in
            defer { held = value }
            return held
        }
    }
}
