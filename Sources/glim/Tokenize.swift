import ArgumentParser
import Foundation
import GlimText
import GlimTrain

struct Tokenize: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Turn text on stdin into token ids, or back.",
        discussion: """
            Prints one JSON array of ids for each line of input, without its line feed, or with --whole one array for \
            all of it. With --decode, such arrays become the exact bytes again.
            """)

    @Option(help: "Folder with tokenizer.json, or GGUF file.") var model: String
    @Flag(help: "Take all of stdin as one text instead of one a line.") var whole = false
    @Flag(help: "Read arrays of ids and print the bytes they stand for.") var decode = false
    @Flag(help: "Let added tokens written in the text become control tokens instead of plain text.") var special = false

    func run() throws {
        let tokenizer = try Tokenizer(model: URL(filePath: model))
        if whole {
            let input = try read { try $0.readToEnd() }
            try emit(decode ? bytes(input, tokenizer, line: nil) : ids(input, tokenizer))
            return
        }
        var (rest, line) = (Data(), 0)
        while true {
            let chunk = try read { try $0.read(upToCount: 1 << 20) }
            if chunk.isEmpty { break }
            var output = Data()
            var start = chunk.startIndex
            while let end = chunk[start...].firstIndex(of: 0x0A) {
                rest.append(chunk[start..<end])
                line += 1
                output.append(try converted(rest, tokenizer, line: line))
                rest.removeAll(keepingCapacity: true)
                start = end + 1
            }
            rest.append(chunk[start...])
            try emit(output)
        }
        if !rest.isEmpty { try emit(converted(rest, tokenizer, line: line + 1)) }
    }

    private func converted(_ text: Data, _ tokenizer: Tokenizer, line: Int) throws -> Data {
        decode ? try bytes(text, tokenizer, line: line) + [0x0A] : ids(text, tokenizer)
    }

    private func ids(_ text: Data, _ tokenizer: Tokenizer) -> Data {
        let ids = tokenizer.encode([UInt8](text), special: special)
        return Data("[\(ids.map(String.init).joined(separator: ","))]\n".utf8)
    }

    private func bytes(_ json: Data, _ tokenizer: Tokenizer, line: Int?) throws -> Data {
        let place = line.map { "line \($0) of stdin" } ?? "stdin"
        guard let ids = try? JSONDecoder().decode([Int32].self, from: json) else {
            throw Failure("\(place) is not a JSON array of token ids, such as [1,2,3]")
        }
        do {
            return Data(try tokenizer.decode(ids))
        } catch {
            throw Failure("\(place): \(error)")
        }
    }

    /// Empty at the end.
    private func read(_ some: (FileHandle) throws -> Data?) throws -> Data {
        do {
            return try some(.standardInput) ?? Data()
        } catch {
            throw Failure("standard input cannot be read; give a file with < or a text with |")
        }
    }
}
