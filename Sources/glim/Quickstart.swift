import ArgumentParser
import Foundation
import GlimTrain

struct Quickstart: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Train a small model from text found on this machine, and write a report.",
        discussion: """
            Collects text and trains a tokenizer and a nano model in five stages: pre-training on facts to find again \
            (25% of the minutes), on text (12%), mid-training in contexts of 2048 and 8192 tokens (15%), adaptation to \
            sparse attention (12%), fine-tuning on conversations that solve easy problems (36%). Writes DIR/report.html \
            and DIR/report.json, which show what each stage gained, and the model folder DIR/model; those of the earlier \
            stages are DIR/facts, DIR/pretrain, DIR/midtrain and DIR/adapt. Stop it with Ctrl-C at any moment; the same \
            command goes on.
            """)

    @Option(help: "Folder for the report and the model.") var out = "quickstart"
    @Option(help: "Minutes of training, all stages together (default: 30).") var minutes: Double?
    @Option(parsing: .upToNextOption, help: "Files, folders, JSON lines (default: text found on this machine).")
    var data: [String] = []
    @Option(help: "The same seed gives the same run, to the bit (default: 0).") var seed: UInt64?
    @Flag(help: "End standard output with one JSON object.") var json = false
    @OptionGroup var compute: ComputeOptions

    func validate() throws {
        if let minutes, !(0.001...1e6).contains(minutes) {
            throw ValidationError("--minutes is \(minutes), not within 0.001...1000000.")
        }
    }

    func run() throws {
        compute.apply()
        let job = GlimTrain.Quickstart(
            folder: URL(filePath: out), minutes: minutes, data: data, threads: compute.threads, seed: seed,
            program: CommandLine.arguments[0]
        ) { log($0) }
        guard let report = try job.run() else { throw ExitCode(130) }
        if let bits = report.figures.validationBitsPerByte {
            try emit("validation: \(bits.formatted(digits: 3)) bits per byte\n")
        }
        try emit("report: \(out)/report.html\ntalk to it: \(report.chatCommand)\n")
        if json { try emit(report.jsonLine + "\n") }
    }
}
