import ArgumentParser
import Foundation
import GlimCheckpoint
import GlimModel
import GlimTensor
import GlimTrain

struct Grad: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write the gradient of the mean next-token cross-entropy for every tensor.",
        discussion: """
            The loss is the mean over all predicted tokens of all lines, without MTP and balance losses. The output \
            holds each gradient under the checkpoint's name (indexer tensors have none), the scalar "loss", and for \
            each line "ID.logprobs" from the same forward.
            """)

    @Option(help: "Model folder (config.json, *.safetensors) or GGUF file.") var model: String
    @Option(help: "JSON lines {\"id\": \"a\", \"tokens\": [1, 2, 3]}.") var input: String
    @Option(help: "The safetensors file to write.") var output: String
    @OptionGroup var compute: ComputeOptions

    func run() throws {
        compute.apply()
        try CheckpointWriter.checkFile(URL(filePath: output))
        let model = try Model(path: model, format: .f32)
        let config = model.config
        let lines = try TokenLine.read(input, vocabulary: config.vocabularySize, longest: config.maximumPositions)
        guard lines.contains(where: { $0.tokens.count > 1 }) else {
            throw Failure("\(input): no line has two tokens, so nothing is predicted")
        }
        let result = LossGradient(model, lines.map(\.tokens))
        var named: [String: NamedTensor] = ["loss": .floats([Float(result.loss)], shape: [])]
        for (line, logprobs) in zip(lines, result.logprobs) {
            named["\(line.id).logprobs"] = .floats(logprobs, shape: [logprobs.count])
        }
        for tensor in model.tensors {
            if let gradient = tensor.numbers(in: result.gradients) {
                named[tensor.name] = .floats(gradient.elements, shape: tensor.shape)
            }
        }
        try CheckpointWriter.writeFile(named, to: URL(filePath: output))
    }
}
