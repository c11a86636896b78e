import Dispatch

/// Does long work, such as reading a prompt of megabytes, where no stream waits for it: the threads that tasks share are
/// as few as the machine has cores.
func aside<R: Sendable>(_ work: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        queue.async { continuation.resume(with: Result { try work() }) }
    }
}

private let queue = DispatchQueue(label: "glim requests", attributes: .concurrent)
