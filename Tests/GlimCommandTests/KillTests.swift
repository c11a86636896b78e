import Foundation
import GlimTestSupport
import Testing

/// SIGKILL at any moment, then `--resume`: nothing shows but the time.
@Suite("a training run that is killed", .serialized) struct KillTests {
    /// How many moments, and which: `GLIM_KILL_COUNT` and `GLIM_FUZZ_SEED`.
    static let killCount = number("GLIM_KILL_COUNT") ?? 6
    static let seed = UInt64(truncatingIfNeeded: number("GLIM_FUZZ_SEED") ?? 1)

    private static func number(_ name: String) -> Int? {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
    }

    @Test(
        "at random moments, half of them inside saves, ends as if it had not been",
        arguments: [
            ["pretrain", "--optimizer", "adamw"], ["pretrain", "--optimizer", "muon-split"],
            ["midtrain", "--context-lengths", "64", "128", "256"],
            ["adapt", "--sequence-length", "128", "--warmup-steps", "12", "--top-k", "32", "--share-every", "2"],
            ["sft", "--sequence-length", "128"],
        ])
    func killed(stage: [String]) async throws {
        let folder = try TinyRun.place()
        var mutator = Mutator(seed: Self.seed, number: 50)
        if stage[0] != "pretrain" {
            let dense = try await Program.run(TinyRun.arguments(folder, "dense") + ["--steps", "4"])
            #expect(dense.status == 0, "\(dense.stderr)")
        }
        // A save every other step, so that the moments meet many.
        func command(_ out: String) -> [String] {
            TinyRun.arguments(folder, out, stage: stage[0])
                + ["--steps", "24", "--save-every", "2", "--evaluate-every", "8"] + stage.dropFirst()
        }
        let began = ContinuousClock.now
        let done = try await Program.run(command("whole"))
        #expect(done.status == 0, "\(done.stderr)")
        var length = max(.milliseconds(100), ContinuousClock.now - began)
        #expect(try TinyRun.metrics(folder.path("whole/metrics.jsonl")).count == 24)
        print(
            "\(stage.joined(separator: " ")): killing \(Self.killCount) times, seed \(Self.seed), in runs of \(length)")

        var (kills, insideSaves, round) = (0, 0, 0)
        while kills < Self.killCount {
            // Five kills a run, that a long test begins often and meets the first files too.
            if kills % 5 == 0 { round += 1 }
            let out = "cut\(round)"
            let moment = length * Double(mutator.below(1000)) / (kills % 5 == 0 ? 2000 : 1000)
            // Half of them inside a save, and of those half up to a millisecond into it.
            let (waitsForSave, intoSave) = (kills % 2 == 0, UInt32(mutator.below(2) * mutator.below(1000)))
            var isInside = false
            let started = ContinuousClock.now
            let status = try await Program.run(command(out) + ["--resume"]) { process in
                while ContinuousClock.now - started < moment, !Program.hasEnded(process) {
                    try await Task.sleep(for: .milliseconds(1))
                }
                isInside =
                    waitsForSave
                    ? await stopInside(folder.path(out), process, after: intoSave) : isSaving(folder.path(out))
                // Nobody has waited for it yet: the number is still its own, if it has ended too.
                kill(process, SIGKILL)
            }
            if status == -SIGKILL {
                kills += 1
                insideSaves += isInside ? 1 : 0
            } else {
                // It came to its end before: the next kill begins anew, within the time that a run takes by now.
                length = max(.milliseconds(100), min(length, ContinuousClock.now - started))
                #expect(status == 0)
                try TinyRun.expectSame(folder.path(out), folder.path("whole"))
                round += 1
            }
            if status == -SIGKILL, kills % 5 == 0 || kills == Self.killCount {
                let last = try await Program.run(command(out) + ["--resume"])
                #expect(last.status == 0, "\(last.stderr)")
                try TinyRun.expectSame(folder.path(out), folder.path("whole"))
                try FileManager.default.removeItem(at: folder.path(out))
            }
        }
        print("killed \(kills) times, \(insideSaves) of them inside a save, in \(ContinuousClock.now - began)")
        #expect(2 * insideSaves >= kills)
    }

    /// Stops a process within its next save, of which it may be `microseconds` into: told when it stands still, for by
    /// then the save may be over, and the next one is waited for.
    ///
    /// - Returns: false where it came to its end before.
    private func stopInside(_ run: URL, _ process: pid_t, after microseconds: UInt32) async -> Bool {
        var microseconds = microseconds
        while true {
            while !isSaving(run), !Program.hasEnded(process) { await Task.yield() }
            usleep(microseconds)
            kill(process, SIGSTOP)
            guard await Program.standsStill(process) else { return false }
            if isSaving(run) { return true }
            kill(process, SIGCONT)
            // Shorter, lest every save be over.
            microseconds /= 2
        }
    }

    /// Whether a save is on its way, told by what lies in the folder for its time only.
    private func isSaving(_ run: URL) -> Bool {
        func names(_ folder: URL) -> [String] {
            (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        }
        return names(run.appending(path: "training")).contains { $0.hasPrefix(".partial-") }
            || names(run).contains { $0.hasSuffix(".tmp") }
    }

    @Test("by Ctrl-C saves its step, says how to go on, and goes on") func interrupted() async throws {
        let folder = try TinyRun.place()
        var arguments = TinyRun.arguments(folder, "run")
        arguments[arguments.firstIndex(of: "60")!] = "100000"
        let log = folder.path("run/metrics.jsonl")
        let errors = folder.path("errors")
        let status = try await Program.run(arguments, errors: errors) { process in
            while (try? Data(contentsOf: log))?.isEmpty ?? true, !Program.hasEnded(process) {
                try await Task.sleep(for: .milliseconds(20))
            }
            kill(process, SIGINT)
        }
        let told = String(decoding: try Data(contentsOf: errors), as: UTF8.self)
        #expect(status == 130)
        #expect(told.contains("go on with --resume"))
        let steps = try TinyRun.metrics(log).count
        let states = try FileManager.default.contentsOfDirectory(atPath: folder.path("run/training").path)
        #expect(states == ["step-\(steps)"])
    }

    @Test("by Ctrl-C while a stage of the quickstart is measured, ends with 130 before the next") func betweenStages()
        async throws
    {
        let folder = try TinyRun.place()
        let (out, errors) = (folder.path("quick"), folder.path("errors"))
        let states = out.appending(path: "facts/training").path
        let status = try await Program.run(
            ["quickstart", "--out", out.path, "--data", folder.path("text.py").path, "--minutes", "0.001"],
            errors: errors
        ) { process in
            // Of so short a stage only the end is saved.
            func isTrained() -> Bool {
                ((try? FileManager.default.contentsOfDirectory(atPath: states)) ?? []).contains {
                    $0.hasPrefix("step-")
                }
            }
            while !isTrained(), !Program.hasEnded(process) {
                try await Task.sleep(for: .milliseconds(20))
            }
            kill(process, SIGINT)
        }
        let told = String(decoding: try Data(contentsOf: errors), as: UTF8.self)
        #expect(status == 130 && told.contains("stopped after facts; the same command goes on"), "\(told)")
        #expect(FileManager.default.fileExists(atPath: out.appending(path: "facts/gain.json").path))
        #expect(!FileManager.default.fileExists(atPath: out.appending(path: "pretrain").path))
    }

    @Test("goes on from another folder, keeps the recorded rows, and refuses other values")
    func otherValues() async throws {
        let folder = try TinyRun.place()
        var start = TinyRun.arguments(folder, "run")
        start[start.firstIndex(of: "60")!] = "6"
        // A path that only means something in this folder.
        start[start.firstIndex(of: folder.path("text.py").path)!] = "./text.py"
        let rows = folder.path("rows.jsonl")
        let begun = try await Program.run(start + ["--record-batches", rows.path], folder: folder.url)
        #expect(begun.status == 0, "\(begun.stderr)")
        let recorded = try Data(contentsOf: rows)
        // The rows it validates on, then those of each step.
        #expect(recorded.split(separator: UInt8(ascii: "\n")).count == 7)

        let resume = ["train", "pretrain", "--out", folder.path("run").path, "--resume"]
        let again = try await Program.run(resume + ["--json", "--steps", "6", "--record-batches", rows.path])
        #expect(again.status == 0, "\(again.stderr)")
        #expect(try again.json["steps"] as? Int == 6)
        #expect(try Data(contentsOf: rows) == recorded)
        for (option, value, says) in [
            ("--steps", "7", "steps = 6, not steps = 7"),
            ("--learning-rate", "0.5", ", not learning_rate = 0.5"),
            ("--data", "other", "not data = "), ("--minutes", "3", "without minutes, not minutes = 3.0"),
        ] {
            let refused = try await Program.run(resume + [option, value])
            #expect(refused.status == 1 && refused.stderr.contains(says), "\(refused.stderr)")
            #expect(refused.stderr.split(separator: "\n").count == 1)
        }
        // A state without its recipe is nothing to go on from, and nothing to begin over.
        try FileManager.default.removeItem(at: folder.path("run/recipe.json"))
        let (fresh, resumed) = (try await Program.run(start, folder: folder.url), try await Program.run(resume))
        #expect(fresh.status == 1 && fresh.stderr.contains("already holds a run"), "\(fresh.stderr)")
        #expect(resumed.status == 1 && resumed.stderr.contains("recipe.json"), "\(resumed.stderr)")
    }
}
