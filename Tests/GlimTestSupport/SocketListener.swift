import Foundation

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// A socket connected to a port of this machine, to be closed by the caller; -1 where nobody listens.
public func connectedSocket(to port: Int) -> Int32 {
    let descriptor = streamSocket()
    var address = localAddress(port: UInt16(port))
    let length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isConnected = withUnsafeMutablePointer(to: &address) { address in
        address.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, length) == 0 }
    }
    if isConnected { return descriptor }
    close(descriptor)
    return -1
}

private func streamSocket() -> Int32 {
    #if canImport(Darwin)
    socket(AF_INET, SOCK_STREAM, 0)
    #else
    socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    #endif
}

private func localAddress(port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return address
}

/// Listens on a free port of this machine and hands each connection to a thread of its own.
final class SocketListener: Sendable {
    let port: UInt16
    private let descriptor: Int32

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    init() throws {
        let made = streamSocket()
        guard made >= 0 else { throw Failure(description: "no socket: \(String(cString: strerror(errno)))") }
        var address = localAddress(port: 0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { address in
            address.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(made, address, length) == 0 && listen(made, 64) == 0 && getsockname(made, address, &length) == 0
            }
        }
        guard isBound else { throw Failure(description: "cannot listen: \(String(cString: strerror(errno)))") }
        (descriptor, port) = (made, UInt16(bigEndian: address.sin_port))
    }

    func start(_ answer: @escaping @Sendable (SocketPeer) -> Void) {
        let descriptor = descriptor
        Thread.detachNewThread {
            while true {
                let peer = accept(descriptor, nil, nil)
                // Until it is stopped.
                if peer < 0, errno == EINTR || errno == ECONNABORTED { continue }
                guard peer >= 0 else { return }
                Thread.detachNewThread {
                    answer(SocketPeer(descriptor: peer))
                    shutdown(peer, Int32(SHUT_RDWR))
                    close(peer)
                }
            }
        }
    }

    func stop() {
        shutdown(descriptor, Int32(SHUT_RDWR))
        close(descriptor)
    }
}

/// The other end of one connection.
struct SocketPeer: Sendable {
    let descriptor: Int32

    /// Up to the empty line; nil where the peer leaves before.
    func readHead() -> String? {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while bytes.count < 1 << 16 {
            guard recv(descriptor, &byte, 1, 0) == 1 else { return nil }
            bytes.append(byte)
            if bytes.suffix(4) == [13, 10, 13, 10] { return String(decoding: bytes, as: UTF8.self) }
        }
        return nil
    }

    /// So many bytes; nil where the peer leaves before.
    func read(_ count: Int) -> [UInt8]? {
        let bytes = readAll(atMost: count)
        return bytes.count == count ? bytes : nil
    }

    /// What comes until the peer closes the connection.
    func readAll(atMost most: Int = .max) -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 14)
        while bytes.count < most {
            let count = recv(descriptor, &buffer, min(buffer.count, most - bytes.count), 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        return bytes
    }

    /// Returns once the peer has closed the connection.
    func waitUntilItLeaves() { _ = readAll() }

    func send(status: String, _ headers: [String: String], _ body: Data) {
        sendHead(status, headers, contentLength: body.count)
        write(body)
    }

    func sendHead(_ status: String, _ headers: [String: String], contentLength: Int) {
        var text = "HTTP/1.1 \(status)\r\nContent-Length: \(contentLength)\r\nConnection: close\r\n"
        for (name, value) in headers { text += "\(name): \(value)\r\n" }
        write(Data((text + "\r\n").utf8))
    }

    /// False where the peer has left.
    @discardableResult
    func write(_ data: Data) -> Bool {
        data.withUnsafeBytes { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let part = UnsafeRawBufferPointer(rebasing: rest)
                #if canImport(Darwin)
                let count = Darwin.send(descriptor, part.baseAddress, part.count, 0)
                #else
                let count = Glibc.send(descriptor, part.baseAddress, part.count, Int32(MSG_NOSIGNAL))
                #endif
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return false }
                rest = rest.dropFirst(count)
            }
            return true
        }
    }
}
