import Foundation

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The three standard streams, and the signals that would end the program without a word.
enum Streams {
    /// To be called before anything opens a file.
    static func prepare() {
        // With a standard stream closed, the first file opened would take its number, and what is printed would go
        // into a model. A closed output stays one that cannot be written to, which is found out and said.
        for descriptor: Int32 in [0, 1, 2] where fcntl(descriptor, F_GETFD) < 0 && errno == EBADF {
            _ = open("/dev/null", descriptor == 2 ? O_WRONLY : O_RDONLY)
        }
        // A reader that left and a file that may not grow are errors of a write, like a full disk.
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
        // A mapped file that another program cuts short, or a disk that fails, cannot be caught where it happens.
        signal(SIGBUS) { _ in
            let message: StaticString =
                "error: a file became shorter while it was read, or its disk failed; fetch it again\n"
            _ = write(2, message.utf8Start, message.utf8CodeUnitCount)
            _exit(1)
        }
    }

    /// Sends what `print` still holds.
    ///
    /// - Throws: `Failure` if any of it did not arrive.
    static func flush() throws {
        errno = 0
        guard fflush(nil) == 0 else { throw failure(errno) }
    }

    /// Writes all of it to standard output, now.
    static func emit(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let part = UnsafeRawBufferPointer(rebasing: rest)
            let count = write(STDOUT_FILENO, part.baseAddress, part.count)
            if count >= 0 {
                rest = rest.dropFirst(count)
                continue
            }
            switch errno {
            case EINTR: continue
            case EAGAIN:
                // Another program made it non-blocking: a terminal is shared.
                var watched = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
                _ = poll(&watched, 1, -1)
            case let reason: throw failure(reason)
            }
        }
    }

    private static func failure(_ reason: Int32) -> Failure {
        switch reason {
        case EPIPE: Failure("standard output was closed by its reader before all of it was written; read it to the end")
        case EBADF: Failure("standard output is closed; give it a file, a pipe or a terminal")
        case 0: Failure("standard output cannot be written to; is the disk full?")
        default: Failure("standard output cannot be written to: \(String(cString: strerror(reason))); free some space")
        }
    }
}

/// Writes to standard error: progress and logs, never results.
func log(_ text: String) {
    try? FileHandle.standardError.write(contentsOf: Data((text + "\n").utf8))
}

/// Writes to standard output at once: what a person watches as it comes.
func emit(_ text: String) throws { try emit(Data(text.utf8)) }

/// The same for bytes that need not be text.
func emit(_ bytes: Data) throws {
    try bytes.withUnsafeBytes { try Streams.emit($0) }
}

extension Encodable {
    /// One line of JSON with its keys sorted, so that equal values print equal text.
    var jsonLine: String {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return String(decoding: try encoder.encode(self), as: UTF8.self)
        }
    }
}
