import ArgumentParser
import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTrain

/// How much memory a command may take.
struct MemoryOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Run in so many bytes of memory, such as 8GiB (or MiB, GB, MB): experts that find no room are read from disk when they are "
                + "needed. Changes time, never a result.", valueName: "bytes"))
    var memory: ByteCount?

    /// Loads a model, within the memory that is given where some is.
    ///
    /// - Parameters:
    ///   - positions: in the caches of all sequences.
    ///   - drafts: tokens guessed ahead.
    ///   - chunk: tokens of a prompt at a time, at most; nil for as many as is usual.
    func load(
        _ path: String, positions: Int, drafts: Int = 0, sequences: Int = 1, chunk: Int? = nil,
        format: Model.LoadFormat = .inference, computeType: ModelConfig.ComputeType? = nil
    ) throws -> LoadedModel {
        guard let memory else {
            return LoadedModel(model: try Model(path: path, format: format, computeType: computeType))
        }
        let folder = URL(filePath: path)
        try Self.requireFolder(folder)
        // What the headers of many files take counts with the program.
        _ = try Model.byteCount(ofFolder: folder, format: .inference, computeType: computeType)
        var wish = MemoryPlan.Wish(
            memory: memory.count, programByteCount: Self.programByteCount, positions: positions)
        (wish.sequences, wish.drafts, wish.chunk) = (sequences, drafts, chunk ?? wish.chunk)
        let plan = try MemoryPlan(folder: folder, computeType: computeType, wish)
        // The plan counts all that the process has.
        try MemoryRoom.check(
            plan.parts.reduce(plan.heldExpertByteCount) { $0 + $1.byteCount }, atMost: MemoryRoom.byteCount, of: path,
            advice: "give less with --memory")
        BufferPool.limit = plan.tensorByteCount
        var options = ExpertStream.Options()
        options.isDirect = Self.readsDirectly(plan)
        let counts = ExpertCounts.file(ofModel: folder)
        let progress = LoadingProgress(path)
        defer { progress.clear() }
        let model = try Model(
            folder: folder, memory: plan, counts: ExpertCounts(file: counts), computeType: computeType,
            options: options
        ) { progress.show($0) }
        return LoadedModel(model: model, plan: plan, counts: counts)
    }

    /// - Throws: `Failure` for a GGUF file, of which no experts can be read one by one.
    static func requireFolder(_ model: URL) throws {
        guard !GGUFFile.isNamed(by: model) else {
            throw Failure(
                "--memory reads experts from a model's folder; make one with glim convert --model \(model.path) "
                    + "--to folder")
        }
    }

    /// Bytes of this process that are no weight, cache or tensor, with some to spare.
    static var programByteCount: Int { ResidentMemory.peak + (64 << 20) }

    /// Whether what is read from disk is more than the system could keep of it: then it is read past that.
    static func readsDirectly(_ plan: MemoryPlan) -> Bool {
        plan.expertByteCount - plan.heldExpertByteCount > MemoryRoom.byteCount - plan.wish.memory
    }
}
