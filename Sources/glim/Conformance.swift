import ArgumentParser
import Foundation
import GlimModel

/// Holds sparse attention against its definition.
struct Conformance: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check that sparse attention does what its definition says.",
        discussion: """
            Attention that reads chosen positions fails silently: up to index_topk tokens nothing shows, and beyond them a \
            wrong choice still writes fluent text. Each line is a property that implementations have broken: causality, \
            cache and chunk edges, the choice itself, ties, shared selections, the MTP layer, more than 131,072 keys, \
            recall. Without --model it asks this engine, on small built-in networks; with one, that checkpoint, at \
            lengths it can afford, a quantised one in its own arithmetic: what lies in the middle of two steps may be \
            rounded to either, so half of the positions may be off by what a step comes to. What cannot be asked of it (a \
            dense model has no indexer) is marked -, with the reason, and counts neither way. The exit status is 1 if a \
            property does not hold.

            With --endpoint it asks a server over HTTP instead: whether a reply is the same again, in company, streamed, \
            from what is cached and after others left, and whether wrong requests are refused. A server with Glim's \
            /generate is held to the bit; others are asked through OpenAI's completions, with log-probabilities that may \
            be 0.05 off. With --model besides, its numbers are held against that checkpoint, read here.
            """)

    @Option(help: "Model folder or GGUF file to ask instead of the built-in networks.") var model: String?
    @Option(help: "Address of a server to ask, such as http://127.0.0.1:8080.") var endpoint: String?
    @Option(help: "A file whose first line is the key that the server wants.") var apiKeyFile: String?
    @Flag(help: "End with one JSON object: passed, failed, not_asked, properties.") var json = false
    @OptionGroup var compute: ComputeOptions

    func validate() throws {
        if apiKeyFile != nil, endpoint == nil { throw ValidationError("--api-key-file is for --endpoint only.") }
    }

    func run() async throws {
        compute.apply()
        func report(_ result: ConformanceResult) throws { if !json { try emit(result.line + "\n") } }
        let results: [ConformanceResult]
        if let endpoint {
            let key = try apiKeyFile.map { String(decoding: try inputBytes($0), as: UTF8.self) }?
                .split(whereSeparator: \.isNewline).first.map(String.init)
            let server = try await Endpoint(endpoint, key: key)
            let suite = EndpointSuite(endpoint: server, reference: try model.map { try Model(path: $0) })
            results = try await suite.run(report: report)
        } else if let model {
            results = try ConformanceSuite(model: try Model(path: model)).run(report: report)
        } else {
            results = try ConformanceSuite(ModelEngine()).run(report: report)
        }
        let report = Report(results)
        try emit((json ? try report.jsonLine : report.line) + "\n")
        if report.failed > 0 {
            throw Failure(
                "\(report.failed) of \(results.count) properties do not hold; the lines of the failed ones say where")
        }
    }

    private struct Report: Encodable {
        struct Property: Encodable {
            var name: String
            var sentence: String
            var status: String
            var seconds: Double
            var detail: String
        }

        var passed: Int
        var failed: Int
        var notAsked: Int
        var seconds: Double
        var properties: [Property]

        init(_ results: [ConformanceResult]) {
            func count(_ status: ConformanceResult.Status) -> Int { results.filter { $0.status == status }.count }
            (passed, failed, notAsked) = (count(.passed), count(.failed), count(.notAsked))
            seconds = results.reduce(0) { $0 + $1.seconds }
            properties = results.map {
                Property(
                    name: $0.name, sentence: $0.sentence, status: $0.status.rawValue, seconds: $0.seconds,
                    detail: $0.detail)
            }
        }

        var line: String {
            "\(passed) passed, \(failed) failed, \(notAsked) not asked, in "
                + String(format: "%.1f seconds", seconds)
        }

        enum CodingKeys: String, CodingKey {
            case passed, failed, seconds, properties
            case notAsked = "not_asked"
        }
    }
}

extension ConformanceResult {
    /// `ok    ties  0.1 s  what was looked at`
    fileprivate var line: String {
        let mark = [Status.passed: "ok  ", .failed: "FAIL", .notAsked: "-   "][status] ?? ""
        let name = name.padding(toLength: 38, withPad: " ", startingAt: 0)
        let finding = (status == .notAsked ? "not asked: " : "") + detail
        return "\(mark)  \(name)  \(String(format: "%5.2f", seconds)) s  \(finding)"
            + (status == .failed ? "\n      \(sentence)" : "")
    }
}
