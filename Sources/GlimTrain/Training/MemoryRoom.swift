public import Foundation
import GlimCheckpoint
public import GlimModel

/// Whether a model fits into this machine: asked before its memory is taken, for the system kills whoever fills it.
public enum MemoryRoom {
    /// What may be used: a container's limit, or what is installed.
    public static var byteCount: Int {
        let installed = Int(clamping: ProcessInfo.processInfo.physicalMemory)
        return min(installed, containerLimit ?? installed)
    }

    /// A container's limit, nil without one.
    public static var containerLimit: Int? {
        let text = FileManager.default.contents(atPath: "/sys/fs/cgroup/memory.max")
        return text.flatMap { Int(String(decoding: $0, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)) }
    }

    /// Bytes of a model in f32: its weights; in training also AdamW's two averages, and as many gradients as the
    /// pairwise sum over a step's micro-batches holds at a time.
    ///
    /// - Parameter microBatches: of a training step; nil where nothing is trained.
    public static func byteCount(of config: ModelConfig, microBatches: Int? = nil) -> Int {
        let parameters = config.size.parameterCount + (config.mtpSize?.parameterCount ?? 0)
        guard let microBatches else { return product(4, parameters) }
        let gradients = max(1, microBatches).bitWidth - max(1, microBatches).leadingZeroBitCount
        return product(parameters, 4 + 4 * gradients + 8)
    }

    /// Bytes of the weights in a model folder once they are loaded, from the headers of its files.
    public static func byteCount(ofFolder folder: URL, format: Model.LoadFormat) throws -> Int {
        let checkpoint = try Checkpoint(folder: folder)
        return try checkpoint.names.reduce(0) { sum, name in
            let info = try checkpoint.info(name)
            return sum + info.elementCount * (format != .f32 && info.dtype == .bf16 ? 2 : 4)
        }
    }

    /// A config within its limits may still ask for more bytes than a number can say.
    package static func product(_ a: Int, _ b: Int) -> Int {
        let (product, overflow) = a.multipliedReportingOverflow(by: b)
        return overflow ? .max : product
    }

    /// - Parameters:
    ///   - name: of the model, for the error.
    ///   - advice: what else could be done.
    /// - Throws: `RunError` if the bytes would take more than nine tenths of the memory.
    public static func check(_ bytes: Int, of name: String, advice: String) throws(RunError) {
        guard bytes > byteCount / 10 * 9 else { return }
        func inGiB(_ bytes: Int) -> String { (Double(bytes) / 0x1p30).formatted(digits: 1) }
        throw RunError(
            "\(name) needs \(inGiB(bytes)) GiB of memory and this machine has \(inGiB(byteCount)); \(advice)")
    }
}
