import ArgumentParser
import Foundation
import GlimTrain

struct Quickstart: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Train a small model from text found on this machine, and write a report.",
        discussion: """
            Collects text, trains a tokenizer and a nano model, and writes DIR/report.html, DIR/report.json and the \
            model folder DIR/model. Stop it with Ctrl-C at any moment; the same command goes on.
            """)

    @Option(help: "Folder for the report and the model.") var out = "quickstart"
    @Option(help: "Minutes of training.") var minutes = 10.0
    @Option(parsing: .upToNextOption, help: "Files, folders, JSON lines (default: text found on this machine).")
    var data: [String] = []
    @Option(help: "The same seed gives the same run, to the bit.") var seed: UInt64 = 0
    @Flag(help: "End standard output with one JSON object.") var json = false
    @OptionGroup var compute: ComputeOptions

    func validate() throws {
        guard minutes > 0, minutes < 1e6 else { throw ValidationError("--minutes is \(minutes); it must be above 0.") }
    }

    func run() throws {
        compute.apply()
        let job = GlimTrain.Quickstart(
            folder: URL(filePath: out), minutes: minutes, data: data, threads: compute.threads, seed: seed,
            program: CommandLine.arguments[0]
        ) { log($0) }
        guard let report = try job.run() else { throw ExitCode(130) }
        if let bits = report.figures.validationBitsPerByte {
            print("validation: \(bits.formatted(digits: 3)) bits per byte")
        }
        print("report: \(out)/report.html")
        print("talk to it: \(report.chatCommand)")
        if json { print(try report.jsonLine) }
    }
}
