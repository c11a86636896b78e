import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTrain

/// `glim bench load`: from starting the program to its first token, with the checkpoint in the system's file cache.
enum BenchLoad {
    /// - Parameter model: a folder; nil makes one of 1 GB in bf16, and removes it again.
    static func run(model: String?) throws -> BenchTable {
        var table = BenchTable(.load)
        if let model {
            _ = try ModelConfig(folder: URL(filePath: model))
            try table.begin()
            try table.add(.init(name: "first token of \(model)", measured: try firstToken(model), unit: "s"))
            return table
        }
        let folder = FileManager.default.temporaryDirectory.appending(path: "glim-bench-\(UUID().uuidString)")
        // Ctrl-C ends the process that is timed, and then this function: the gigabyte goes in any case.
        StopSignal.catchFirst()
        defer { try? FileManager.default.removeItem(at: folder) }
        let bytes = try make(folder)
        try table.begin()
        let seconds = try firstToken(folder.path)
        try table.add(
            .init(
                name: "first token of a \(BenchReport.short(Double(bytes)))B model", measured: seconds, unit: "s",
                bar: "under 2 s", ok: seconds < 2))
        return table
    }

    /// The median time that a process of its own takes, after one that brings the files into memory.
    private static func firstToken(_ model: String) throws -> Double {
        try (0..<4).map { _ in try generate(model) }[1...].sorted()[1]
    }

    private static func generate(_ model: String) throws -> Double {
        let process = Process()
        process.executableURL = Bundle.main.executableURL
        process.arguments =
            ["generate", "--model", model, "--tokens", "1,2,3", "--max-tokens", "1", "--threads"]
            + ["\(ThreadPool.shared.threadCount)"]
        process.standardOutput = FileHandle.nullDevice
        let began = ContinuousClock.now
        try process.run()
        process.waitUntilExit()
        guard !StopSignal.arrived else { throw Failure("stopped") }
        guard process.terminationStatus == 0 else { throw Failure("\(model) could not be run") }
        return began.duration(to: .now) / .seconds(1)
    }

    /// Writes the smallest model of our series that takes 1 GB, and returns its size.
    private static func make(_ folder: URL) throws -> Int {
        func byteCount(_ config: ModelConfig) -> Int {
            2 * (config.size.parameterCount + (config.mtpSize?.parameterCount ?? 0))
        }
        let depth = ModelConfig.depthRange.first { byteCount(.depth($0)) >= 1_000_000_000 }
        let config = ModelConfig.depth(depth ?? ModelConfig.depthRange.upperBound).with { $0.dtype = .bfloat16 }
        log("writing a model of \(BenchReport.short(Double(byteCount(config))))B to \(folder.path)")
        // What the numbers are does not matter, only that they are of ordinary size.
        let random = CounterRandom(seed: 0, purpose: "bench load")
        let block = (0..<1 << 16).map { Float(random.uniform(UInt64($0)) - 0.5) * config.initializerRange }
        let ones = [Float](repeating: 1, count: block.count)
        let tensors = Model(config, isBlueprint: true).tensors.map {
            TensorDeclaration($0.name, $0.shape.count == 1 ? .f32 : .bf16, $0.shape)
        }
        try CheckpointWriter(folder: folder).write(tensors) { tensor, sink in
            let numbers = tensor.shape.count == 1 ? ones : block
            var left = tensor.shape.reduce(1, *)
            while left > 0 {
                try sink.append(Array(numbers.prefix(left)))
                left -= min(left, numbers.count)
            }
        }
        try AtomicFile.write(config.json, to: folder.appending(path: "config.json"))
        return byteCount(config)
    }
}
