import HTTPTypes
import NIOCore
import NIOHTTPTypes

/// Closes a connection behind a response that says it is the last one there.
///
/// Left to itself, Hummingbird waits for what is missing of a request that was refused half way, and so does a client
/// that sends no more of it.
final class LastResponse: ChannelOutboundHandler, RemovableChannelHandler {
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// How long the other side has to read the response and close its own. A connection that is closed whole while
    /// something comes in is reset, and the response lost.
    private static let patience = Duration.seconds(2)

    private var isLast = false

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(let head):
            isLast = head.headerFields[.connection] == "close"
            context.write(data, promise: promise)
        case .body:
            context.write(data, promise: promise)
        case .end:
            context.write(data, promise: promise)
            guard isLast else { return }
            context.flush()
            let channel = context.channel
            channel.close(mode: .output, promise: nil)
            let alarm = context.eventLoop.alarm(after: Self.patience) { channel.close(promise: nil) }
            channel.closeFuture.whenComplete { _ in alarm.cancel() }
        }
    }
}
