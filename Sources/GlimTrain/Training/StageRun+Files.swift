import Foundation
import GlimCheckpoint
import GlimModel
import GlimText

extension StageRun {
    func saveRecipe() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try AtomicFile.write(encoder.encode(recipe), to: run.appending(path: "recipe.json"))
    }

    func save(_ model: Model, _ tokenizer: Tokenizer, to folder: URL) throws {
        try model.save(to: folder)
        try saveTokenizer(tokenizer, to: folder)
        if let origin = recipe.model, let jinja = try ChatTemplate.jinja(of: URL(filePath: origin)) {
            try AtomicFile.write(Data(jinja.utf8), to: folder.appending(path: ChatTemplate.fileName))
        }
        let end = ControlToken.endOfText.rawValue
        try AtomicFile.write(
            """
            {
              "tokenizer_class": "PreTrainedTokenizerFast",
              "eos_token": "\(end)",
              "pad_token": "\(end)",
              "model_max_length": \(model.config.maximumPositions)
            }

            """, to: folder.appending(path: "tokenizer_config.json"))
    }

    func saveTokenizer(_ tokenizer: Tokenizer, to folder: URL) throws {
        try AtomicFile.write(tokenizer.json(), to: folder.appending(path: "tokenizer.json"))
    }

    func writeCurve() throws {
        let metrics = try MetricsLog.read(file: run.appending(path: "metrics.jsonl"))
        try LossCurve(title: recipe.stage.title, metrics: metrics).write(to: run.appending(path: "loss.svg"))
    }
}

extension TrainRecipe.Stage {
    /// For people.
    var title: String {
        switch self {
        case .pretrain: "Pre-training"
        case .midtrain: "Mid-training"
        case .adapt: "Adaptation to sparse attention"
        case .sft: "Supervised fine-tuning"
        }
    }
}
