package import NIOCore

/// Keeps a port listening when one connection goes wrong.
///
/// A connection may be gone before it is set up. NIO tells that as an error of the listening channel, and whoever reads
/// connections from it takes that for its end.
package final class AcceptErrors: Sendable {
    private let held = Held<String?>(nil)

    package init() {}

    /// What went wrong last, if anything did.
    package var latest: String? { held.value }

    /// - Parameter channel: as `ServerBootstrap` makes it, already bound.
    /// - Throws: NIO's errors where the channel is another.
    package func guardListening(_ channel: any Channel) async throws {
        try await channel.eventLoop.submit { [held] in
            let pipeline = channel.pipeline.syncOperations
            let accepting = try pipeline.context(name: "AcceptHandler").handler
            // Errors of accepting itself are waited out between the two.
            try pipeline.addHandler(Handler(held, goesOn: true), position: .first)
            try pipeline.addHandler(Handler(held, goesOn: false), position: .after(accepting))
        }.get()
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = NIOAny

        private let held: Held<String?>
        private let goesOn: Bool

        init(_ held: Held<String?>, goesOn: Bool) { (self.held, self.goesOn) = (held, goesOn) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            held.set("\(error)")
            if goesOn { context.fireErrorCaught(error) }
        }
    }
}
