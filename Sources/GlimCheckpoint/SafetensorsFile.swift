public import Foundation

/// One safetensors file, mapped into memory: its header is checked when it is opened, its data read when it is used.
public final class SafetensorsFile: Sendable {
    /// Where it was opened.
    public let path: String
    /// In the order of their bytes.
    public var names: [String] { header.names }
    /// What the file says of itself: `__metadata__`.
    public var metadata: [String: String] { header.metadata }

    private let header: SafetensorsHeader
    private let file: MappedFile

    /// - Throws: the `CheckpointError` that names the first thing wrong with the file.
    public convenience init(_ file: URL) throws(CheckpointError) { try self.init(path: file.path) }

    package init(path: String) throws(CheckpointError) {
        file = try MappedFile(path: path)
        header = try SafetensorsHeader(file.bytes, path: path)
        self.path = path
    }

    /// Nil if there is no such tensor.
    public func info(_ name: String) -> TensorInfo? { header.tensors[name] }

    /// Which file it was when its header was read.
    var identity: FileIdentity { file.identity }

    /// The raw bytes of a tensor this file's header describes.
    func bytes(_ info: TensorInfo) -> MappedBytes {
        MappedBytes(file: file, range: info.fileOffset..<info.fileOffset + info.byteCount)
    }
}

/// Bytes of a mapped file, which stays mapped as long as a value of this type lives.
///
/// Little-endian, row-major, and without any alignment. Pages come from the disk when first touched.
public struct MappedBytes: Sendable {
    private let file: MappedFile
    private let range: Range<Int>

    init(file: MappedFile, range: Range<Int>) { (self.file, self.range) = (file, range) }

    /// How many bytes.
    public var count: Int { range.count }

    /// The pointer must not leave `body`.
    public func withUnsafeBytes<Result, Failure>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        defer { withExtendedLifetime(file) {} }
        return try body(UnsafeRawBufferPointer(rebasing: file.bytes[range]))
    }

    /// To be called after the bytes were read: they stay in the file, and take no memory of this process until they are
    /// touched again.
    package func release() { file.release(range) }

    /// A part of these bytes; `part` must lie within `0..<count`.
    package func slice(_ part: Range<Int>) -> MappedBytes {
        precondition(part.lowerBound >= 0 && part.upperBound <= count, "MappedBytes.slice: \(part) of \(count) bytes")
        return MappedBytes(file: file, range: range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound)
    }
}
