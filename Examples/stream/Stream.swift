// Continues a text: make examples && .build/release/stream MODEL-FOLDER "Once upon a time"
import Foundation
import GlimModel
import GlimText

guard CommandLine.arguments.count == 3 else {
    print("usage: stream MODEL-FOLDER TEXT")
    exit(2)
}
let folder = URL(filePath: CommandLine.arguments[1])

let tokenizer = try Tokenizer(folder: folder)
let model = try Model(folder: folder)
var generator = Generator(model, sampler: Sampler(temperature: 0.8, seed: 1))
var decoder = StreamDecoder(tokenizer, skipsSpecial: true)

generator.feed(tokenizer.encode(CommandLine.arguments[2]))
while let token = generator.next(), token.position < 512 {
    print(try decoder.push(token.id), terminator: "")
    fflush(nil)
}
print(decoder.finish())
