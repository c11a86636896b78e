package import Foundation
import GlimCheckpoint
import GlimTensor

extension MemoryPlan {
    /// Bytes of experts that the threads which read them bring into memory in a second, measured for a second or two with
    /// those of a model. What the system keeps of files in memory counts as it will then.
    ///
    /// - Parameter direct: past the system's memory of files.
    /// - Returns: nil for a model without experts.
    /// - Throws: `ConfigError`, `CheckpointError`.
    package static func readRate(folder: URL, direct: Bool) throws -> Double? {
        let load = try LoadPlan(folder: folder, format: .inference)
        let shapes = load.expertShapes
        guard let width = shapes.first?.count else { return nil }
        let files = try ExpertFiles(load, shapes, direct: direct)
        let random = CounterRandom(seed: 1, purpose: "read rate")
        let rooms = Rooms(shapes)
        return try DiskProbe.bytesPerSecond(threads: ExpertStream.readerCount, pieces: 1 << 20) {
            piece, _ throws(CheckpointError) in
            let id = random.integer(UInt64(piece), below: shapes.count * width)
            let shape = shapes[id / width]
            let (room, memory) = rooms.take()
            defer { rooms.give((room, memory)) }
            try files.read(id % width, of: shape, into: memory.pointer, room, checksShape: false)
            return shape.byteCount
        }
    }

    /// What earlier runs of a model say: the share of choices that found, or would have found, their expert among those
    /// that the plan holds; nil where nothing is known.
    ///
    /// - Throws: `ConfigError`, `CheckpointError`.
    package func learnedHitRate(folder: URL) throws -> Double? {
        guard isStreamed, let counts = ExpertCounts(file: ExpertCounts.file(ofModel: folder)) else { return nil }
        return counts.hitRate(
            try LoadPlan(folder: folder, format: .inference).expertShapes, byteCount: heldExpertByteCount)
    }

    /// What threads read with, lent to one at a time.
    // @unchecked: the list is touched with the lock held.
    private final class Rooms: @unchecked Sendable {
        private let lock = NSLock()
        private let shapes: [ExpertShape]
        private var free: [(ExpertFiles.ReadingRoom, SystemPages)] = []

        init(_ shapes: [ExpertShape]) { self.shapes = shapes }

        func take() -> (ExpertFiles.ReadingRoom, SystemPages) {
            lock.lock()
            defer { lock.unlock() }
            if let room = free.popLast() { return room }
            return (
                ExpertFiles.ReadingRoom(shapes), SystemPages(byteCount: shapes.map(\.byteCount).max() ?? 1)
            )
        }

        func give(_ room: (ExpertFiles.ReadingRoom, SystemPages)) {
            lock.lock()
            defer { lock.unlock() }
            free.append(room)
        }
    }
}
