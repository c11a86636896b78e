import Foundation
import GlimCheckpoint

/// Why metrics or a report could not be written or read.
public enum ReportError: Error, Equatable, Sendable, CustomStringConvertible {
    case cannotWrite(String, why: String)
    case cannotRead(String, why: String)

    public var description: String {
        switch self {
        case .cannotWrite(let path, let why):
            "\(path) cannot be written: \(why); check free space and permissions, what was saved before is unchanged"
                .onOneLine
        case .cannotRead(let path, let why): "\(path) cannot be read: \(why); move it away or mend it".onOneLine
        }
    }

    /// The one line that matters of a Foundation error, which prints as a page on Linux.
    static func why(_ error: any Error) -> String {
        let underlying = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
        guard let underlying, underlying.domain == NSPOSIXErrorDomain else { return error.localizedDescription }
        return String(cString: strerror(Int32(truncatingIfNeeded: underlying.code)))
    }
}
