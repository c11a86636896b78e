package import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor

/// The saved state of a run: `RUN/training/step-N`, complete or not there at all.
///
/// A folder is written under a temporary name and renamed when whole, and only then older ones are removed: a run
/// that is killed at any moment finds its last state.
package struct TrainingState: Codable {
    package var step: Int
    package var tokens: Int
    var position: MixedLoader.Position
    /// Of the data: a run must go on with what it began with.
    var fingerprint: UInt64

    fileprivate static let file = "state.json"

    /// The newest complete state of a run, or nil.
    static func latest(in run: URL) -> URL? {
        let folder = run.appending(path: "training")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        let newest = names.compactMap { name in name.hasPrefix("step-") ? Int(name.dropFirst(5)) : nil }.max()
        return newest.map { folder.appending(path: "step-\($0)") }
    }

    /// Saves weights, optimizer and position.
    static func save(_ trainer: Trainer, fingerprint: UInt64, run: URL) throws {
        let folder = run.appending(path: "training")
        let temporary = folder.appending(path: ".partial-\(trainer.step)")
        let final = folder.appending(path: "step-\(trainer.step)")
        let files = FileManager.default
        if files.fileExists(atPath: final.path) { return }
        if files.fileExists(atPath: temporary.path) {
            do { try files.removeItem(at: temporary) } catch {
                throw RunError("\(temporary.path), left by a killed save, cannot be removed: \(ReportError.why(error))")
            }
        }

        let tensors = Dictionary(uniqueKeysWithValues: trainer.model.tensors.map { ($0.name, $0) })
        var states: [String: Gradients] = [:]
        for weight in trainer.model.weights {
            for (name, numbers) in trainer.optimizer.presentState(weight)?.tensors ?? [] {
                states[name, default: Gradients()].set(numbers, for: weight)
            }
        }
        var declarations: [TensorDeclaration] = []
        for tensor in trainer.model.tensors {
            declarations.append(TensorDeclaration(tensor.name, .f32, tensor.shape))
            for (name, _) in trainer.optimizer.presentState(tensor.parts[0].weight)?.tensors ?? [] {
                declarations.append(TensorDeclaration("\(name).\(tensor.name)", .f32, tensor.shape))
            }
        }
        // What did not become whole goes at once: it may be what fills the disk.
        var isPublished = false
        defer { if !isPublished { try? files.removeItem(at: temporary) } }
        try CheckpointWriter(folder: temporary).write(declarations) { declaration, sink in
            let state = Optimizer.State.names.first { declaration.name.hasPrefix("\($0).") }
            let name = declaration.name.dropFirst(state.map { $0.count + 1 } ?? 0)
            guard let numbers = tensors[String(name)]?.numbers(in: state.flatMap { states[$0] }) else { return }
            try numbers.withElements { try sink.append($0) }
        }
        let state = TrainingState(
            step: trainer.step, tokens: trainer.tokens, position: trainer.loader.position, fingerprint: fingerprint)
        // In one order: equal states are equal files.
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        try AtomicFile.write(encoder.encode(state), to: temporary.appending(path: file))
        guard rename(temporary.path, final.path) == 0 else {
            throw RunError("\(final.path) cannot be written: \(String(cString: strerror(errno)))")
        }
        isPublished = true
        do { try synchronizeFolder(folder.path) } catch {
            throw RunError("\(folder.path) cannot be brought to the disk: \(error.reason)")
        }
        // The new state is whole, and its name too: older ones, and leftovers of killed saves, may go.
        for name in (try? files.contentsOfDirectory(atPath: folder.path)) ?? [] where name != final.lastPathComponent {
            try? files.removeItem(at: folder.appending(path: name))
        }
    }

    /// Puts a trainer where the saved one was.
    static func restore(_ trainer: inout Trainer, from folder: URL, fingerprint: UInt64) throws {
        let state = try TrainingState(folder: folder, totalSteps: trainer.totalSteps)
        guard state.fingerprint == fingerprint else {
            let data = trainer.recipe.data
            let place = data.isEmpty ? "found on this machine" : "in \(data.joined(separator: ", "))"
            throw RunError("the data \(place) changed since the run began: put it back, or start a new --out")
        }
        let checkpoint = try Checkpoint(folder: folder)
        var optimizer = trainer.optimizer
        for tensor in trainer.model.tensors {
            _ = try checkpoint.require(tensor.name, shape: tensor.shape)
            try checkpoint.floats(tensor.name).withUnsafeBufferPointer { tensor.fill(from: $0) }
            let saved = Optimizer.State.names.contains { checkpoint.contains("\($0).\(tensor.name)") }
            guard saved else { continue }
            for (i, (name, _)) in optimizer.state(tensor.parts[0].weight).tensors.enumerated() {
                _ = try checkpoint.require("\(name).\(tensor.name)", shape: tensor.shape)
                let numbers = try checkpoint.floats("\(name).\(tensor.name)")
                numbers.withUnsafeBufferPointer { numbers in
                    tensor.fill(from: numbers) { optimizer.state($0).tensors[i].numbers }
                }
            }
        }
        for weight in trainer.model.weights { weight.changed() }
        optimizer.step = state.step
        trainer.optimizer = optimizer
        trainer.tokens = state.tokens
        trainer.loader = try trainer.loader.moved(to: state.position)
    }
}

extension TrainingState {
    /// Reads what is saved beside the tensors.
    ///
    /// - Throws: `RunError` also for a place where a run of so many steps cannot be.
    package init(folder: URL, totalSteps: Int) throws(RunError) {
        let path = folder.appending(path: Self.file).path
        guard let data = try? FileBytes.read(path, atMost: 1 << 20),
            let state = try? JSONDecoder().decode(Self.self, from: Data(data)),
            (0...totalSteps).contains(state.step), (0...1 << 60).contains(state.tokens)
        else { throw RunError("\(path) is damaged; remove \(folder.path) to start over") }
        self = state
    }
}
