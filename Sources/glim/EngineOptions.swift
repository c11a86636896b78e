import ArgumentParser
import Foundation
import GlimEngine
import GlimModel
import GlimTrain

/// Options of commands that talk with an engine.
struct EngineOptions: ParsableArguments {
    @Option(
        help: """
            Keep what is read in this folder, so that prompts which begin alike are read once, also later: at most \
            8 GiB, the longest unused go first. A folder is of one model at a time; another empties it.
            """)
    var prefixCache: String?

    /// An engine of its own for one model.
    ///
    /// - Parameters:
    ///   - path: of the model's folder.
    ///   - openLimit: requests that may be open at one time; nil takes the engine's own.
    func start(_ loaded: LoadedModel, path: String, drafts: Int, openLimit: Int? = nil) throws -> Engine {
        // Pages are taken as they are needed: this is how many may be.
        var options = Engine.Options(cacheByteCount: loaded.plan?.cacheByteCount ?? MemoryRoom.byteCount / 2)
        options.drafts = drafts
        options.openLimit = openLimit ?? options.openLimit
        if let plan = loaded.plan {
            options.activeLimit = plan.wish.sequences
            options.limits.chunk = plan.chunk
            options.limits.mixedChunk = min(options.limits.mixedChunk, plan.chunk)
        }
        if let prefixCache {
            options.store = Engine.Store(
                folder: URL(filePath: prefixCache),
                identity: ModelIdentity.of(folder: URL(filePath: path), loaded.model.config),
                report: { log("note: \($0)") })
        }
        return try Engine(loaded.model, options: options)
    }
}
