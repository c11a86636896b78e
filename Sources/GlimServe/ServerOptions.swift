/// How a server runs.
public struct ServerOptions: Sendable {
    public var host = "127.0.0.1"
    /// 0 takes one that is free.
    public var port = 8080
    /// nil lets everybody in.
    public var keys: APIKeys?
    /// What requests are drawn by that name no seed: the first by one number of it, the second by the next, and so on.
    public var seed: UInt64 = 0
    /// Bytes of a request's body.
    public var bodyByteLimit = 32 << 20
    /// Tokens of a prompt; nil is all that the model and its cache can hold.
    public var promptLimit: Int?
    /// Connections at one time; further ones wait. There are fewer where the system allows this process fewer files.
    public var connectionLimit = 1024
    /// How long a request may take to arrive, and how long a connection may be idle.
    public var arrivalLimit = Duration.seconds(60)
    /// How long a reply may take, from when its request has been read.
    public var replyLimit = Duration.seconds(3600)
    /// How long a client may take to read what is sent to it at a time, 64 KiB at most, before it is let go.
    public var stallLimit = Duration.seconds(120)
    /// How long running replies may go on once the server is told to stop.
    public var shutdownLimit = Duration.seconds(30)

    public init() {}
}
