import Foundation
public import GlimModel
import GlimTensor

/// Whether a model fits into this machine: asked before its memory is taken, for the system kills whoever fills it.
public enum MemoryRoom {
    /// What may be used: a container's limit, or what is installed.
    public static var byteCount: Int {
        let installed = Int(clamping: ProcessInfo.processInfo.physicalMemory)
        return min(installed, containerLimit ?? installed)
    }

    /// A container's limit, or that of the control group this process is in; nil without one.
    public static var containerLimit: Int? {
        func text(_ path: String) -> String? {
            FileManager.default.contents(atPath: path).map {
                String(decoding: $0, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
            }
        }
        // Lines such as "0::/user" of the second version, "4:memory:/user" of the first.
        var files = ["/sys/fs/cgroup/memory.max"]
        for line in (text("/proc/self/cgroup") ?? "").split(separator: "\n") {
            let words = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard words.count == 3 else { continue }
            if words[1].isEmpty { files.append("/sys/fs/cgroup\(words[2])/memory.max") }
            if words[1].split(separator: ",").contains("memory") {
                files.append("/sys/fs/cgroup/memory\(words[2])/memory.limit_in_bytes")
            }
        }
        // Without a limit the first version says a number near the largest there is.
        return files.compactMap { text($0).flatMap { Int($0) } }.filter { $0 < 1 << 60 }.min()
    }

    /// Bytes of a model in f32: its weights, and for products in bf16 their rounded panels; in training also the
    /// transposed ones, AdamW's two averages (or Muon's momentum and, within its step, the direction), and as many
    /// gradients as the pairwise sum over a step's micro-batches holds at a time.
    ///
    /// - Parameter microBatches: of a training step; nil where nothing is trained.
    public static func byteCount(of config: ModelConfig, microBatches: Int? = nil) -> Int {
        let parameters = config.size.parameterCount + (config.mtpSize?.parameterCount ?? 0)
        let rounded = config.productFormat == .bf16 ? 2 : 0
        guard let microBatches else { return product(4 + rounded, parameters) }
        let gradients = max(1, microBatches).bitWidth - max(1, microBatches).leadingZeroBitCount
        // The transposed panels are rounded too.
        return product(parameters, 4 + 4 + 4 * gradients + 8)
    }

    /// A config within its limits may still ask for more bytes than a number can say.
    package static func product(_ a: Int, _ b: Int) -> Int {
        let (product, overflow) = a.multipliedReportingOverflow(by: b)
        return overflow ? .max : product
    }

    /// The same of two parts.
    package static func sum(_ a: Int, _ b: Int) -> Int {
        let (sum, overflow) = a.addingReportingOverflow(b)
        return overflow ? .max : sum
    }

    /// - Parameters:
    ///   - limit: a tenth of the memory is left for what a process has besides, where that is not counted.
    ///   - name: of the model, for the error.
    ///   - advice: what else could be done.
    /// - Throws: `RunError` if the bytes are more than that.
    public static func check(
        _ bytes: Int, atMost limit: Int = byteCount / 10 * 9, of name: String, advice: String
    ) throws(RunError) {
        guard bytes > limit else { return }
        func inGiB(_ bytes: Int) -> String { (Double(bytes) / 0x1p30).formatted(digits: 1) }
        throw RunError(
            "\(name) needs \(inGiB(bytes)) GiB of memory and this machine has \(inGiB(byteCount)); \(advice)")
    }
}
