import GlimText

/// The clock of one request.
struct Meter: Sendable {
    private let traffic: Traffic
    private let arrived: ContinuousClock.Instant
    private let hasBegun = Held(false)

    init(_ traffic: Traffic, _ arrived: ContinuousClock.Instant) { (self.traffic, self.arrived) = (traffic, arrived) }

    func note(_ event: ReplyEvent) {
        guard case .piece = event, hasBegun.set(true) == false else { return }
        traffic.note { $0.firstToken.add(ContinuousClock.now - arrived) }
    }

    func end() { traffic.note { $0.reply.add(ContinuousClock.now - arrived) } }

    /// Counts a client that leaves within `body`: what fails there, but for what is told to a client.
    func watching<R>(_ body: () async throws -> R) async throws -> R {
        do { return try await body() } catch {
            if !(error is ServiceError) { traffic.note { $0.left += 1 } }
            throw error
        }
    }
}
