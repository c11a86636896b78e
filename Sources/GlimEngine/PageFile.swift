import Foundation
import GlimModel
import GlimTensor

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// The file of one page: a header, the page's tokens, and for each kind of rows those of its positions, all in
/// little-endian order.
///
/// | bytes | what |
/// | --- | --- |
/// | 8 | `GLIMPAGE` |
/// | 4, 4 | the format's number, and how many tokens |
/// | 16, 8, 8 | whose rows: a hash of the model's name, the version of its weights, a hash of layout and arithmetic |
/// | 8, 8 | its own number, and that of the page before it, or 0 |
/// | 8, 8 | bytes of rows, and their hash |
/// | 8 | a hash of all that comes before it and of the tokens |
/// | 4 each | the tokens |
/// | … | the rows |
enum PageFile {
    fileprivate static let format: UInt32 = 1
    fileprivate static let magic = Array("GLIMPAGE".utf8)
    private static let suffix = ".page"
    static let temporarySuffix = ".page.tmp"

    static func name(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits + suffix
    }

    /// The number that a name stands for; nil for a file that is not ours.
    static func number(_ name: String) -> UInt64? {
        guard name.count == 16 + suffix.count, name.hasSuffix(suffix) else { return nil }
        // Half of what fits: whoever counts on from the last never comes to the end.
        return UInt64(name.dropLast(suffix.count), radix: 16).flatMap {
            self.name($0) == name && (1..<1 << 63).contains($0) ? $0 : nil
        }
    }

    /// Why a file cannot be read or written.
    struct Damage: Error { let reason: String }

    /// Whose rows these are.
    struct Owner: Equatable {
        var model: (UInt64, UInt64)
        var version: Int64
        /// How rows lie, and what the kernels that made them come to.
        var layout: UInt64

        init(_ identity: String, version: Int, _ layout: CacheLayout, arithmetic: UInt64) {
            let name = Array(identity.utf8)
            model = (ContentHash.hash(name, seed: 1), ContentHash.hash(name, seed: 2))
            self.version = Int64(version)
            let described =
                "\(layout.latents) \(layout.indexKeys) \(layout.streams) \(layout.widths) \(KeyPages.positions)"
            self.layout = ContentHash.hash(Array("\(described) \(arithmetic)".utf8), seed: 3)
        }

        fileprivate init(model: (UInt64, UInt64), version: Int64, layout: UInt64) {
            (self.model, self.version, self.layout) = (model, version, layout)
        }

        static func == (a: Owner, b: Owner) -> Bool {
            a.model == b.model && a.version == b.version && a.layout == b.layout
        }
    }

    struct Header {
        var owner: Owner
        var number: UInt64
        var parent: UInt64
        var tokens: [Int32]
        var payloadByteCount: Int
        var payloadHash: UInt64

        /// Without tokens.
        fileprivate static let fixedByteCount = 88

        static func byteCount(tokens: Int) -> Int { fixedByteCount + 4 * tokens }

        /// Bytes before the rows.
        var byteCount: Int { Self.byteCount(tokens: tokens.count) }

        fileprivate var bytes: [UInt8] {
            var bytes = PageFile.magic
            func words(_ numbers: [UInt64]) -> [UInt8] {
                numbers.flatMap { number in withUnsafeBytes(of: number.littleEndian) { Array($0) } }
            }
            bytes += words([UInt64(PageFile.format) | UInt64(tokens.count) << 32])
            bytes += words([owner.model.0, owner.model.1, UInt64(bitPattern: owner.version), owner.layout])
            bytes += words([number, parent, UInt64(payloadByteCount), payloadHash])
            let ids = tokens.flatMap { id in withUnsafeBytes(of: id.littleEndian) { Array($0) } }
            return bytes + words([ContentHash.hash(bytes + ids, seed: 4)]) + ids
        }
    }

    // MARK: Writing

    /// - Returns: bytes of the file.
    static func write(
        _ path: String, owner: Owner, number: UInt64, parent: UInt64, tokens: [Int32], _ page: CachePage,
        _ layout: CacheLayout
    ) throws(Damage) -> Int {
        var (hash, byteCount): (UInt64, Int) = (5, 0)
        layout.withRows(of: page, count: tokens.count) { rows in
            hash = ContentHash.hash(UnsafeRawBufferPointer(rows), seed: hash)
            byteCount += rows.count
        }
        let header = Header(
            owner: owner, number: number, parent: parent, tokens: tokens, payloadByteCount: byteCount,
            payloadHash: hash)
        let temporary = path.dropLast(suffix.count) + temporarySuffix
        let descriptor = open(String(temporary), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw failure }
        var problem: Damage?
        func append(_ bytes: UnsafeRawBufferPointer) {
            guard problem == nil else { return }
            do throws(Damage) { try write(descriptor, bytes) } catch { problem = error }
        }
        header.bytes.withUnsafeBytes { append($0) }
        layout.withRows(of: page, count: tokens.count) { append(UnsafeRawBufferPointer($0)) }
        // A disk across a network may say only now that it is full.
        if close(descriptor) != 0 { problem = problem ?? failure }
        if problem == nil, rename(String(temporary), path) != 0 { problem = failure }
        guard let problem else { return header.byteCount + byteCount }
        unlink(String(temporary))
        throw problem
    }

    private static func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(Damage) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let part = UnsafeRawBufferPointer(rebasing: rest.prefix(1 << 30))
            #if canImport(Darwin)
            let count = Darwin.write(descriptor, part.baseAddress, part.count)
            #else
            let count = Glibc.write(descriptor, part.baseAddress, part.count)
            #endif
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure }
            rest = rest.dropFirst(count)
        }
    }

    private static var failure: Damage { Damage(reason: String(cString: strerror(errno))) }

    // MARK: Reading

    /// The header alone, and whether the file is as long as it says.
    static func read(headerOf path: String) -> Result<Header, Damage> {
        Result { () throws(Damage) in
            let file = try File(path)
            let header = try file.header()
            guard file.byteCount - header.byteCount == header.payloadByteCount else {
                throw Damage(reason: "it has \(file.byteCount) bytes")
            }
            return header
        }
    }

    /// Fills the first positions of a page.
    static func read(_ path: String, into page: CachePage, _ layout: CacheLayout) throws(Damage) -> Header {
        let file = try File(path)
        let header = try file.header()
        var (hash, problem): (UInt64, Damage?) = (5, nil)
        var offset = header.byteCount
        layout.withRows(of: page, count: header.tokens.count) { rows in
            guard problem == nil else { return }
            do throws(Damage) { try file.read(rows, at: offset) } catch { problem = error }
            hash = ContentHash.hash(UnsafeRawBufferPointer(rows), seed: hash)
            offset += rows.count
        }
        if let problem { throw problem }
        guard hash == header.payloadHash else { throw Damage(reason: "its rows are not those that were written") }
        return header
    }

    /// An open file.
    private struct File: ~Copyable {
        private let descriptor: Int32
        let byteCount: Int

        init(_ path: String) throws(Damage) {
            // Non-blocking, or a pipe of that name would wait for a writer.
            descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
            guard descriptor >= 0 else { throw PageFile.failure }
            var status = stat()
            guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
                close(descriptor)
                throw Damage(reason: "it is no plain file")
            }
            byteCount = Int(status.st_size)
        }

        deinit { close(descriptor) }

        func header() throws(Damage) -> Header {
            var bytes = [UInt8](repeating: 0, count: min(byteCount, Header.byteCount(tokens: KeyPages.positions)))
            var problem: Damage?
            bytes.withUnsafeMutableBytes { buffer in
                do throws(Damage) { try read(buffer, at: 0) } catch { problem = error }
            }
            if let problem { throw problem }
            return try Header(bytes)
        }

        func read(_ bytes: UnsafeMutableRawBufferPointer, at offset: Int) throws(Damage) {
            var done = 0
            while done < bytes.count {
                let count = pread(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset + done))
                if count < 0, errno == EINTR { continue }
                guard count >= 0 else { throw PageFile.failure }
                guard count > 0 else { throw Damage(reason: "it ends early") }
                done += count
            }
        }
    }
}

extension PageFile.Header {
    /// - Parameter bytes: the beginning of a file, as far as the longest header reaches.
    fileprivate init(_ bytes: [UInt8]) throws(PageFile.Damage) {
        guard bytes.count >= Self.fixedByteCount, bytes.starts(with: PageFile.magic) else {
            throw PageFile.Damage(reason: "it has no header")
        }
        func word(_ i: Int) -> UInt64 {
            bytes.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: 8 * i, as: UInt64.self)) }
        }
        let count = Int(word(1) >> 32)
        guard word(1) & 0xFFFF_FFFF == UInt64(PageFile.format), (1...KeyPages.positions).contains(count),
            bytes.count >= Self.byteCount(tokens: count)
        else { throw PageFile.Damage(reason: "its header is not of format \(PageFile.format)") }
        owner = PageFile.Owner(model: (word(2), word(3)), version: Int64(bitPattern: word(4)), layout: word(5))
        (number, parent, payloadHash) = (word(6), word(7), word(9))
        guard let payload = Int(exactly: word(8)) else { throw PageFile.Damage(reason: "its header is damaged") }
        payloadByteCount = payload
        let ids = bytes[Self.fixedByteCount..<Self.byteCount(tokens: count)]
        guard ContentHash.hash(Array(bytes[..<80]) + ids, seed: 4) == word(10) else {
            throw PageFile.Damage(reason: "its header is damaged")
        }
        tokens = (0..<count).map { i in
            ids.withUnsafeBytes { Int32(littleEndian: $0.loadUnaligned(fromByteOffset: 4 * i, as: Int32.self)) }
        }
    }
}
