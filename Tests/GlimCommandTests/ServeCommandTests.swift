import Foundation
import GlimTestSupport
import GlimText
import Testing

@Suite("glim serve", .timeLimit(.minutes(5))) struct ServeCommandTests {
    @Test("it answers where it says, as glim generate does, and ends when it is told to") func serve() async throws {
        let tokens =
            try await Program.succeed(
                "generate", "--model", Golden.model("sparse"), "--tokens", "1,2,3", "--max-tokens", "9", "--seed", "4",
                "--json"
            ).json["tokens"] as? [Int]
        let status = try await Program.serve(["--model", Golden.model("sparse"), "--name", "small"]) { server, _ in
            let body = "{\"model\": \"small\", \"tokens\": [1, 2, 3], \"max_tokens\": 9, \"seed\": 4}"
            let reply = try await HTTP.post(server.port ?? 0, "/generate", body)
            let drawn = try reply.json["replies"]?.array?.first?["tokens"]?.array?.map(\.compact)
            #expect(reply.status == 200 && tokens != nil && drawn == tokens?.map(String.init))
            // It has no words.
            let words = try await HTTP.post(
                server.port ?? 0, "/v1/completions", "{\"model\": \"small\", \"prompt\": \"a\"}")
            #expect(words.status == 400 && words.text.contains("tokenizer.json"))
        }
        #expect(status == 0)
    }

    @Test("told twice to end, it waits for no reply") func twice() async throws {
        let arguments = ["--model", Golden.model("sparse"), "--drain-seconds", "3600"]
        let status = try await Program.serve(arguments) { server, process in
            let port = server.port ?? 0
            let long = "{\"tokens\": [1], \"n\": 120, \"max_tokens\": 4000, \"stop_tokens\": []}"
            let reply = Task { try await HTTP.post(port, "/generate", long) }
            while try await HTTP.send(port, "GET", "/metrics").text.contains("requests_decoding 0\n") {}
            kill(process, SIGINT)
            // Two signals that have not been looked at are one.
            while (try? await HTTP.send(port, "GET", "/health")) != nil {}
            kill(process, SIGINT)
            let received = try await reply.value
            #expect(received.status == 503 && received.problem == "the server is stopping")
        }
        #expect(status == 0)
    }

    @Test("where memory is limited, so is a request") func memory() async throws {
        let arguments = ["--model", Golden.model("sparse"), "--memory", "1GiB"]
        let status = try await Program.serve(arguments) { server, _ in
            // The second has far less than the 32 MiB of a server without a limit.
            for (byteCount, expected) in [(10_000, 200), (1 << 20, 413)] {
                let body = "{\"tokens\": [1], \"max_tokens\": 1\(String(repeating: " ", count: byteCount))}"
                let reply = try await HTTP.post(server.port ?? 0, "/generate", body)
                #expect(reply.status == expected)
            }
        }
        #expect(status == 0)
    }

    @Test("it never opens the last file that it may; who came too much is answered later") func files() async throws {
        let folder = try TemporaryFolder()
        let (lines, number) = (folder.path("lines"), folder.path("process"))
        // Each thread that answers has a few open, from the beginning.
        let serve = """
            exec env NIO_SINGLETON_GROUP_LOOP_COUNT=2 "$GLIM" serve --model '\(Golden.model("sparse"))' --port 0
            """
        async let output = Program.shell(
            "ulimit -n 40; echo $$ > \"$D/process\"; \(serve) > \"$D/lines\"", folder)
        let server = try await Program.address(lines)
        let process = try #require(pid_t(try String(contentsOf: number, encoding: .utf8).dropLast()))
        do {
            defer { kill(process, SIGTERM) }
            let sockets = (0..<100).map { _ in connectedSocket(to: server.port ?? 0) }
            #expect(sockets.allSatisfy { $0 >= 0 })
            for _ in 0..<20 {
                try await Task.sleep(for: .milliseconds(50))
                #if os(Linux)
                #expect(try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/fd").count < 40)
                #endif
            }
            async let reply = HTTP.post(server.port ?? 0, "/generate", "{\"tokens\": [1], \"max_tokens\": 2}")
            for socket in sockets { close(socket) }
            #expect(try await reply.status == 200)
        }
        #expect(try await output.status == 0)
        let narrow = try await Program.shell("ulimit -n 20; \(serve)", TemporaryFolder())
        #expect(narrow.status == 1 && narrow.stderr.contains("ulimit -n"), "\(narrow.stderr)")
    }

    @Test("its numbers are the checkpoint's, to the bit, and those of no other") func conformance() async throws {
        let folder = try TemporaryFolder()
        let keys = try folder.write("a key with no space\nsecret\n", to: "keys")
        let key = try folder.write("secret\n", to: "key")
        let arguments = ["--model", Golden.model("sparse"), "--api-key-file", key]
        let status = try await Program.serve(arguments) { url, _ in
            let server = url.absoluteString
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
