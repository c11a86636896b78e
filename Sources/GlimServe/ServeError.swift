/// Why a server cannot run, in one line.
public enum ServeError: Error, Equatable, CustomStringConvertible {
    /// Nobody can be heard at this address.
    case cannotListen(host: String, port: Int, why: String)
    /// Nobody can be heard any more, though nobody said so.
    case stoppedListening(why: String)
    /// A file of keys that cannot be used.
    case keys(path: String, line: Int?, String)

    public var description: String {
        switch self {
        case .cannotListen(let host, let port, let why):
            "cannot listen at \(host), port \(port): \(why); give another --port or --host"
        case .stoppedListening(let why): "the system ended the listening: \(why); start the server again"
        case .keys(let path, let line, let what):
            "\(path)\(line.map { ", line \($0)," } ?? "") \(what); put one key on each line"
        }
    }
}
