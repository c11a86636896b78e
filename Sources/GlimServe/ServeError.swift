/// Why a server cannot run, in one line.
public enum ServeError: Error, Equatable, CustomStringConvertible {
    /// Nobody can be heard at this address.
    case cannotListen(host: String, port: Int, why: String)
    /// Nobody can be heard any more, though nobody said so.
    case stoppedListening(why: String)
    /// The system lets this process open too few files for a single connection.
    case noFiles(missing: Int)
    /// A file of keys that cannot be used.
    case keys(path: String, line: Int?, String)

    public var description: String {
        switch self {
        case .cannotListen(let host, let port, let why):
            "cannot listen at \(host), port \(port): \(why); give another --port or --host"
        case .stoppedListening(let why): "the system ended the listening: \(why); start the server again"
        case .noFiles(let missing):
            "no connection can be opened: the limit of open files is too low by \(missing); raise it (ulimit -n)"
        case .keys(let path, let line, let what):
            "\(path)\(line.map { ", line \($0)," } ?? "") \(what); put one key on each line"
        }
    }
}
