public import Foundation
import GlimTensor

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// What a disk can do at most, measured: the roof for experts that are read from it.
public enum DiskProbe {
    private static let pieceByteCount = 2 << 20
    private static let pieceCount = 128

    /// Bytes read in a second by a few threads, past the system's memory of files where that can be had. Writes a file of
    /// 256 MiB, reads it and removes it.
    ///
    /// - Throws: `CheckpointError` for a folder that cannot be written, or is full.
    public static func bytesPerSecond(in folder: URL, threads: Int = 4) throws(CheckpointError) -> Double {
        let file = try TemporaryFile(in: folder.path)
        let random = CounterRandom(seed: 0, purpose: "disk probe")
        let words = (0..<pieceByteCount / 8).map { random.bits(UInt64($0)) }
        for _ in 0..<pieceCount {
            try words.withUnsafeBufferPointer { words throws(CheckpointError) in
                try file.write(UnsafeRawBufferPointer(words))
            }
        }
        try file.finish()
        var status = stat()
        guard stat(file.path, &status) == 0 else { throw .unreadable(path: file.path, reason: systemReason()) }
        let ranges = try RangeFile(path: file.path, identity: FileIdentity(status), direct: true)
        return try bytesPerSecond(threads: threads, pieces: pieceCount) { i, room throws(CheckpointError) in
            let first = i * pieceByteCount
            _ = try ranges.read(first..<first + pieceByteCount, into: room)
            return pieceByteCount
        }
    }

    /// Bytes that threads of their own bring in a second.
    ///
    /// - Parameters:
    ///   - pieces: how many there are; each is read once, or none more after `limit`.
    ///   - read: reads a piece into a room of two pieces; returns what it counts for.
    /// - Throws: what `read` throws first.
    package static func bytesPerSecond(
        threads: Int, pieces: Int, limit: Duration = .seconds(2),
        read: @escaping @Sendable (Int, UnsafeMutableRawBufferPointer) throws(CheckpointError) -> Int
    ) throws(CheckpointError) -> Double {
        let work = ProbeWork(pieces: pieces, read: read)
        let clock = ContinuousClock()
        let began = clock.now
        for _ in 0..<threads {
            let thread = Thread { work.run(until: began + limit, roomByteCount: 2 * pieceByteCount) }
            thread.start()
        }
        let (bytes, failure) = work.wait(threads: threads)
        if let failure { throw failure }
        return Double(bytes) / max((clock.now - began) / .seconds(1), 1e-6)
    }
}

/// What the threads of a measurement share.
// @unchecked: the counts are touched with the lock of `condition` held.
private final class ProbeWork: @unchecked Sendable {
    private let condition = NSCondition()
    private let pieces: Int
    private let read: @Sendable (Int, UnsafeMutableRawBufferPointer) throws(CheckpointError) -> Int
    private var next = 0
    private var ended = 0
    private var bytes = 0
    private var failure: CheckpointError?

    init(
        pieces: Int, read: @escaping @Sendable (Int, UnsafeMutableRawBufferPointer) throws(CheckpointError) -> Int
    ) {
        (self.pieces, self.read) = (pieces, read)
    }

    func run(until end: ContinuousClock.Instant, roomByteCount: Int) {
        let pages = SystemPages(byteCount: roomByteCount)
        let room = UnsafeMutableRawBufferPointer(start: pages.pointer, count: pages.byteCount)
        condition.lock()
        defer { condition.unlock() }
        while next < pieces, failure == nil, ContinuousClock.now < end {
            let piece = next
            next += 1
            condition.unlock()
            let result = readPiece(piece, room)
            condition.lock()
            switch result {
            case .success(let count): bytes += count
            case .failure(let problem): failure = failure ?? problem
            }
        }
        ended += 1
        condition.broadcast()
    }

    private func readPiece(_ i: Int, _ room: UnsafeMutableRawBufferPointer) -> Result<Int, CheckpointError> {
        do throws(CheckpointError) { return .success(try read(i, room)) } catch { return .failure(error) }
    }

    func wait(threads: Int) -> (bytes: Int, failure: CheckpointError?) {
        condition.lock()
        defer { condition.unlock() }
        while ended < threads { condition.wait() }
        return (bytes, failure)
    }
}
