public import ArgumentParser
import Foundation
public import GlimCheckpoint
import GlimTrain

struct Convert: ParsableCommand {
    /// What a model can be written as.
    enum Layout: String, ExpressibleByArgument, CaseIterable {
        case gguf, folder
    }

    static let configuration = CommandConfiguration(
        abstract: "Write a model as a GGUF file for llama.cpp, or as a folder in Hugging Face's layout.",
        discussion: """
            Tensors are converted one after another, so a model may be larger than memory. The result takes its name \
            when it is whole. In a GGUF file --type is the number format of matrices; norms, routers and matrices that \
            are no whole blocks of 32 columns are F32. In a folder bf16 stays bf16, and everything else becomes f32.
            """)

    @Option(help: "Model folder (config.json, *.safetensors, tokenizer.json) or GGUF file.") var model: String
    @Option(help: "The file or folder to write.") var out: String
    @Option(help: "What to write.") var to = Layout.gguf
    @Option(help: "Of matrices in a GGUF file (default: bf16).") var type: GGMLType?
    @Flag(help: "End standard output with one JSON object.") var json = false

    func validate() throws {
        if to == .folder, type != nil { throw ValidationError("--type is of --to gguf only.") }
    }

    func run() throws {
        let start = ContinuousClock.now
        let conversion = try ModelConversion(URL(filePath: model), to: to == .gguf ? .gguf(type ?? .bf16) : .folder)
        for note in conversion.notes { log("note: \(note)") }
        let progress = LoadingProgress(out, doing: "writing")
        defer { progress.clear() }
        try conversion.write(to: URL(filePath: out)) { progress.show(Double($0) / Double(conversion.byteCount)) }
        progress.clear()
        let report = Report(
            out: out, bytes: conversion.byteCount, seconds: start.duration(to: .now) / .seconds(1))
        try emit("\(out): \(report.bytes) bytes of numbers\n")
        if json { try emit(report.jsonLine + "\n") }
    }

    private struct Report: Encodable {
        let out: String
        let bytes: Int
        let seconds: Double
    }
}

extension GGMLType: ExpressibleByArgument {
    public init?(argument: String) {
        guard let type = Self.writable.first(where: { $0.name.lowercased() == argument.lowercased() }) else {
            return nil
        }
        self = type
    }

    public static var allValueStrings: [String] { writable.map { $0.name.lowercased() } }
    /// The names say all.
    public static var allValueDescriptions: [String: String] { [:] }
    public var defaultValueDescription: String { name.lowercased() }
}
