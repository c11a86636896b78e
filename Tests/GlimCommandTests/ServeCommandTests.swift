import Foundation
import Testing

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

@Suite("glim serve", .timeLimit(.minutes(3))) struct ServeCommandTests {
    /// The address that a server prints once it listens.
    private func address(_ file: URL) async throws -> URL {
        for _ in 0..<600 {
            let text = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
            if text.hasSuffix("\n"), let word = text.split(whereSeparator: \.isWhitespace).last,
                let url = URL(string: String(word))
            {
                return url
            }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw CancellationError()
    }

    private func post(_ url: URL, _ body: String) async throws -> (status: Int?, json: [String: Any]?) {
        var request = URLRequest(url: url)
        request.httpMethod = "POST"
        request.httpBody = Data(body.utf8)
        let (data, response) = try await URLSession.shared.data(for: request)
        let json = try JSONSerialization.jsonObject(with: data) as? [String: Any]
        return ((response as? HTTPURLResponse)?.statusCode, json)
    }

    @Test("it answers where it says, as glim generate does, and ends when it is told to") func serve() async throws {
        let folder = try TemporaryFolder()
        let lines = folder.path("lines")
        let tokens =
            try await Program.succeed(
                "generate", "--model", Golden.model("sparse"), "--tokens", "1,2,3", "--max-tokens", "9", "--seed", "4",
                "--json"
            ).json["tokens"] as? [Int]
        let arguments = ["serve", "--model", Golden.model("sparse"), "--port", "0", "--name", "small"]
        let status = try await Program.run(arguments, output: lines) { process in
            defer { kill(process, SIGTERM) }
            let server = try await address(lines)
            let body = "{\"model\": \"small\", \"tokens\": [1, 2, 3], \"max_tokens\": 9, \"seed\": 4}"
            let reply = try await post(server.appending(path: "generate"), body)
            let replies = reply.json?["replies"] as? [[String: Any]]
            #expect(reply.status == 200 && tokens != nil && replies?.first?["tokens"] as? [Int] == tokens)
            // It has no words.
            let words = try await post(
                server.appending(path: "v1/completions"), "{\"model\": \"small\", \"prompt\": \"a\"}")
            #expect(words.status == 400 && "\(words.json ?? [:])".contains("tokenizer.json"))
        }
        #expect(status == 0)
    }

    @Test("with no files left to open it waits, and then answers again") func files() async throws {
        let folder = try TemporaryFolder()
        let script = """
            ulimit -n 40
            "$GLIM" serve --model '\(Golden.model("sparse"))' --port 0 > "$D/lines" &
            echo $! > "$D/process"
            wait $!
            """
        let (lines, number) = (folder.path("lines"), folder.path("process"))
        async let output = Program.shell(script, folder)
        let server = try await address(lines)
        let process = try #require(pid_t(try String(contentsOf: number, encoding: .utf8).dropLast()))
        do {
            defer { kill(process, SIGTERM) }
            let sockets = (0..<100).map { _ in Self.connected(to: server.port ?? 0) }
            #expect(sockets.allSatisfy { $0 >= 0 })
            try await Task.sleep(for: .seconds(1))
            for socket in sockets { close(socket) }
            let reply = try await post(server.appending(path: "generate"), "{\"tokens\": [1], \"max_tokens\": 2}")
            #expect(reply.status == 200)
        }
        #expect(try await output.status == 0)
    }

    private static func connected(to port: Int) -> Int32 {
        #if canImport(Darwin)
        let descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #else
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #endif
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let status = withUnsafeBytes(of: &address) { bytes in
            bytes.withMemoryRebound(to: sockaddr.self) {
                connect(descriptor, $0.baseAddress, socklen_t(bytes.count))
            }
        }
        return status == 0 ? descriptor : -1
    }

    @Test("its numbers are the checkpoint's, to the bit, and those of no other") func conformance() async throws {
        let folder = try TemporaryFolder()
        let (lines, keys) = (folder.path("lines"), try folder.write("a key with no space\nsecret\n", to: "keys"))
        let key = try folder.write("secret\n", to: "key")
        let arguments = ["serve", "--model", Golden.model("sparse"), "--port", "0", "--api-key-file", key]
        let status = try await Program.run(arguments, output: lines) { process in
            defer { kill(process, SIGTERM) }
            let server = try await address(lines).absoluteString
            func ask(_ more: String...) async throws -> Program.Output {
                try await Program.run(["conformance", "--endpoint", server, "--json"] + more)
            }
            let same = try await ask("--api-key-file", key, "--model", Golden.model("sparse"))
            let found = try same.json
            #expect(same.status == 0 && found["passed"] as? Int == 9 && found["failed"] as? Int == 0, "\(same.text)")
            let alone = try await ask("--api-key-file", key).json
            #expect(alone["passed"] as? Int == 8 && alone["not_asked"] as? Int == 1)
            let other = try await ask("--api-key-file", key, "--model", Golden.model("lite"))
            let properties = try other.json["properties"] as? [[String: Any]] ?? []
            let failed = properties.filter { $0["status"] as? String == "failed" }
            #expect(other.status == 1 && failed.count == 1, "\(other.text)")
            #expect((failed.first?["detail"] as? String)?.contains("of the checkpoint") == true)
            let locked = try await ask("--api-key-file", keys)
            #expect(locked.status == 1 && locked.stderr.contains("401"), "\(locked.stderr)")
        }
        #expect(status == 0)
        for (nowhere, says) in [("http://127.0.0.1:9", "does not answer"), ("nonsense", "is no address")] {
            let output = try await Program.run(["conformance", "--endpoint", nowhere])
            #expect(output.status == 1 && output.stderr.hasPrefix("error: ") && output.stderr.contains(says))
        }
    }

    @Test("what it cannot begin with is one error")
    func errors() async throws {
        let folder = try TemporaryFolder()
        let keys = try folder.write("# none\n", to: "keys")
        for (more, says) in [
            (["--api-key-file", keys], "keys"), (["--api-key-file", "/none"], "/none"),
            (["--host", "203.0.113.1"], "203.0.113.1"),
        ] {
            let output = try await Program.run(["serve", "--model", Golden.model("sparse")] + more)
            let lines = output.stderr.split(separator: "\n")
            #expect(
                output.status == 1 && lines.last?.hasPrefix("error: ") == true && lines.last?.contains(says) == true)
        }
        #expect(try await Program.run(["serve", "--model", "x", "--port", "70000"]).status == 2)
    }
}
