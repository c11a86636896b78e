import GlimText
import Hummingbird
import HummingbirdCore
import NIOCore

/// Sends replies as server-sent events while they are drawn.
struct EventStream {
    private let teller: any ReplyTeller
    private let drawing: Drawing
    private let watch: StallWatch
    private let meter: Meter

    init(_ teller: any ReplyTeller, _ drawing: Drawing, _ watch: StallWatch, _ meter: Meter) {
        (self.teller, self.drawing, self.watch, self.meter) = (teller, drawing, watch, meter)
    }

    /// Sends all, at the pace of the client: what it does not take waits here, no more tokens than were asked for.
    ///
    /// - Throws: `CancellationError`, and what the connection throws, once the client has left.
    func send(to writer: inout any ResponseBodyWriter, within limit: Duration) async throws {
        try await watch.watching {
            try await tell(to: &writer, within: limit)
            try await watch.drain()
            try await watch.send { try await writer.finish(nil) }
        }
    }

    private func tell(to writer: inout any ResponseBodyWriter, within limit: Duration) async throws {
        var teller = teller
        var endings = [ReplyEnding?](repeating: nil, count: drawing.job.count)
        do {
            try await drawing.read(within: limit, on: watch.loop) { event in
                meter.note(event)
                switch event {
                case .reading(let done, let count):
                    // A comment: clients leave it out, and see that the server is alive. An empty line behind it would be
                    // the end of an event, which some take for one.
                    try await send(": read \(done) of \(count) tokens\n", to: &writer)
                case .piece(let number, let piece): try await send(teller.tell(piece, of: number), to: &writer)
                case .ended(let number, let ending):
                    endings[number] = ending
                    try await send(teller.tell(ending, of: number), to: &writer)
                }
            }
            meter.end()
            try await send(teller.end(drawing.usage(endings.compactMap { $0 })), to: &writer)
        } catch let error as ServiceError {
            try await send(teller.fail(error), to: &writer)
        }
    }

    private func send(_ events: [ServerSentEvent], to writer: inout any ResponseBodyWriter) async throws {
        if events.isEmpty { return }
        try await send(events.map(\.text).joined(), to: &writer)
    }

    private func send(_ text: String, to writer: inout any ResponseBodyWriter) async throws {
        try await watch.send { try await writer.write(ByteBuffer(string: text)) }
    }
}
