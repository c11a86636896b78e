public import ArgumentParser
import Foundation
import GlimCheckpoint
public import GlimModel
import GlimTrain

struct Score: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write logits, log-probabilities, hidden states or chosen positions of given tokens.",
        discussion: """
            Each line of the input is {"id": "a", "tokens": [1, 2, 3]}. The output holds for each id a float32 tensor: \
            logits [T, vocabulary], logprobs [T-1] (of each next token), hidden [T, width]; or, for selection, \
            an int32 tensor "a.layer.L" [T, index_topk] for each layer. The modes agree to the bit.
            """)

    @Option(help: "Model folder (config.json, *.safetensors) or GGUF file.") var model: String
    @Option(help: "JSON lines with id and tokens.") var input: String
    @Option(help: "The safetensors file to write.") var output: String
    @Option(help: "logits, logprobs, hidden or selection.") var what = ScoreKind.logits
    @Option(help: "train (the training forward), decode (one token at a time) or chunked:N.") var mode = ScoreMode.train
    @OptionGroup var compute: ComputeOptions

    func run() throws {
        compute.apply()
        try CheckpointWriter.checkFile(URL(filePath: output))
        let model = try Model(path: model)
        let config = model.config
        let lines = try TokenLine.read(input, vocabulary: config.vocabularySize, longest: config.maximumPositions)
        if what == .selection, config.indexer == nil {
            throw Failure("\(self.model) has dense attention: it chooses no positions; use --what logits")
        }
        try checkRoom(lines.reduce(0) { $0 + $1.tokens.count }, config)
        let scorer = Scorer(model, mode: mode)
        var results: [String: NamedTensor] = [:]
        for line in lines {
            let T = line.tokens.count
            switch what {
            case .logits:
                results[line.id] = .floats(scorer.logits(line.tokens), shape: [T, config.vocabularySize])
            case .logprobs: results[line.id] = .floats(scorer.logprobs(line.tokens), shape: [T - 1])
            case .hidden: results[line.id] = .floats(scorer.hidden(line.tokens), shape: [T, config.hiddenSize])
            case .selection:
                for (layer, positions) in scorer.selection(line.tokens).enumerated() {
                    results["\(line.id).layer.\(layer)"] = .int32s(positions, shape: [T, config.indexer!.topK])
                }
            }
        }
        try CheckpointWriter.writeFile(results, to: URL(filePath: output))
    }
}

extension Score {
    /// What is written is held in memory first.
    private func checkRoom(_ tokenCount: Int, _ config: ModelConfig) throws {
        let width =
            switch what {
            case .logits: config.vocabularySize
            case .logprobs: 1
            case .hidden: config.hiddenSize
            case .selection: config.layerCount * (config.indexer?.topK ?? 0)
            }
        try MemoryRoom.check(
            MemoryRoom.product(tokenCount, 4 * width), of: "\(what.rawValue) of \(tokenCount) tokens",
            advice: "give fewer lines at a time")
    }
}

extension ScoreKind: ExpressibleByArgument {}

extension ScoreMode: ExpressibleByArgument {
    public init?(argument: String) {
        switch argument {
        case "train": self = .train
        case "decode": self = .decode
        default:
            let words = argument.split(separator: ":", omittingEmptySubsequences: false)
            guard words.count == 2, words[0] == "chunked", let count = Int(words[1]), (1...1 << 24).contains(count)
            else { return nil }
            self = .chunked(count)
        }
    }

    public var defaultValueDescription: String {
        switch self {
        case .train: "train"
        case .decode: "decode"
        case .chunked(let count): "chunked:\(count)"
        }
    }
}
