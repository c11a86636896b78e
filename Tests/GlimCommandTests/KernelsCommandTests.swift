import Foundation
import GlimTestSupport
import Testing

@Suite("glim kernels, and tables from shared libraries") struct KernelsCommandTests {
    // MARK: Libraries, made from C

    private static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardized
    private static let sample = "Examples/kernels/sample.c"
    private static let whole = "Tests/KernelLibraries/whole.c"

    /// Compiles `$D/name.so`, with the line that the guide gives.
    private func make(_ source: String, _ flags: String = "", in folder: TemporaryFolder) async throws -> String {
        let root = Self.root.path
        let headers = "-I\(root)/Sources/CGlimKernels/include -I\(root)/Sources/CGlimKernels"
        let name = flags.isEmpty ? "good.so" : "\(flags).so"
        let made = try await Program.shell(
            "clang -O3 -march=native -shared -fPIC \(flags.isEmpty ? "" : "-D\(flags)") \(headers) \(root)/\(source) "
                + "-o $D/\(name)", folder)
        try #require(made.status == 0, "\(made.stderr)")
        return folder.path(name).path
    }

    private func mistaken(_ mistake: String, in folder: TemporaryFolder) async throws -> String {
        try await make("Tests/KernelLibraries/mistaken.c", mistake, in: folder)
    }

    /// A table of the JSON object.
    private func tables(_ output: Program.Output) throws -> [[String: Any]] {
        try #require(try output.json["tables"] as? [[String: Any]])
    }

    // MARK: Good ones

    @Test("the sample is equal to the reference, and so is every table of this machine; each is timed")
    func sample() async throws {
        let folder = try TemporaryFolder()
        let library = try await make(Self.sample, in: folder)
        let output = try await Program.run(["kernels", "--library", library, "--json"])
        #expect(output.status == 0, "\(output.stderr)")
        let tables = try tables(output)
        #expect(tables.first?["name"] as? String == "sample" && tables.last?["name"] as? String == "portable")
        #expect(tables.first?["file"] as? String == library)
        #expect(tables.first?["kernels"] as? [String] == ["matmul_f32", "store_bf16", "dot"])
        #expect(try output.json["passed"] as? Int == tables.count && output.json["failed"] as? Int == 0)
        for table in tables {
            #expect(table["status"] as? String == "equal", "\(table)")
            let figures = try #require(table["figures"] as? [[String: Any]])
            #expect(figures.count == 10)
            for figure in figures {
                #expect((figure["measured"] as? Double ?? 0) > 0 && (figure["roof"] as? Double ?? 0) > 0, "\(figure)")
            }
        }
    }

    @Test("any command computes with a library, a whole one or a part, and prints the same")
    func computes() async throws {
        let folder = try TemporaryFolder()
        let command = "$GLIM generate --model \(Golden.model("sparse")) --tokens 1,2,3 --max-tokens 8 --json"
        let plain = try await Program.shell(command, folder).json
        let (tokens, logprobs) = (plain["tokens"] as? [Int], plain["logprobs"] as? [Double])
        #expect(tokens?.count == 8 && logprobs?.count == 8)
        for source in [Self.sample, Self.whole] {
            let library = try await make(source, in: folder)
            let output = try await Program.shell("GLIM_KERNELS=\(library) \(command)", folder)
            #expect(output.status == 0, "\(output.stderr)")
            #expect(try output.json["tokens"] as? [Int] == tokens)
            #expect(try output.json["logprobs"] as? [Double] == logprobs)
            let doctor = try await Program.shell("GLIM_KERNELS=\(library) $GLIM doctor --json", folder)
            #expect(try doctor.json["kernels"] as? String == (source == Self.sample ? "sample" : "whole"))
        }
        // By its name in the working folder, too.
        let here = try await Program.shell("cd $D && GLIM_KERNELS=good.so $GLIM inspect --preset nano", folder)
        #expect(here.status == 0, "\(here.stderr)")
        let named = try await Program.shell("GLIM_KERNELS=portable $GLIM doctor --json", folder)
        #expect(try named.json["kernels"] as? String == "portable")
    }

    // MARK: Wrong ones

    @Test(
        "a table that is wrong or dies is told with its kernel and shape, and not used further",
        arguments: [
            ("UNFUSED", "differs", "add_scaled differs at ", "count "),
            ("OUTSIDE", "differs", "add_scaled wrote behind a buffer", "count "),
            ("WRONG_PRODUCT", "differs", "matmul_f32 differs", "m 1 n "),
            ("KEEPS", "differs", "when two threads call at once: it keeps something: matmul_f32 differs", "m "),
            ("ILLEGAL", "crashed", "an illegal instruction, or a trap, at add_scaled, ", "count 1 kind 0"),
            ("ACCESS", "crashed", "a bad access to memory at add_scaled, ", "count 1 kind 0"),
            ("ENDS", "crashed", "it ended the process with status 0 at add_scaled, ", "count 1 kind 0"),
            ("HANGS", "crashed", "it did not come back within 20 seconds at add_scaled, ", "count 1 kind 0"),
            ("IN_CONSTRUCTOR", "crashed", "an illegal instruction, or a trap, at loading", "IN_CONSTRUCTOR.so"),
        ])
    func wrong(mistake: String, status: String, says: String, shape: String) async throws {
        let folder = try TemporaryFolder()
        let library = try await mistaken(mistake, in: folder)
        let output = try await Program.run(["kernels", "--library", library, "--json"])
        #expect(output.status == 1)
        let errors = output.stderr.split(separator: "\n")
        #expect(errors.count == 1 && errors[0].hasPrefix("error: "), "\(output.stderr)")
        #expect(output.stderr.contains(says) && output.stderr.contains(shape), "\(output.stderr)")
        let tables = try tables(output)
        #expect(tables.count == 1 && tables[0]["status"] as? String == status)
        #expect((tables[0]["figures"] as? [Any])?.isEmpty == true)
        let failures = tables[0]["failures"] as? [[String: Any]] ?? []
        #expect(failures.isEmpty == (status == "crashed"))
        if mistake == "UNFUSED" { #expect(failures.allSatisfy { $0["what"] as? String == "add_scaled" }) }
    }

    @Test(
        "a library that is none, or has no table that fits, is one error",
        arguments: [
            ("OTHER_VERSION", "version 2 of glim_kernels.h"), ("OTHER_SIZE", "bytes, but this glim has version 1"),
            ("HOLES", "lacks matmul_f32, "), ("EMPTY", "gives no kernel"), ("WITHOUT_ENTRY", "glim_kernels_library"),
            ("DECLINES", "this machine lacks"), ("UNNAMED", "no name of its own"), ("LINE_BREAK", "no name of its own"),
            ("TAKEN", "no name of its own"),
        ])
    func refused(mistake: String, says: String) async throws {
        let folder = try TemporaryFolder()
        let library = try await mistaken(mistake, in: folder)
        expectError(try await Program.run(["kernels", "--library", library]), library, says)
        expectError(
            try await Program.shell("GLIM_KERNELS=\(library) $GLIM inspect --preset nano", folder), "GLIM_KERNELS: ",
            says)
    }

    @Test("what is no library is one error", arguments: ["missing.so", "folder", "fifo", "text", "/dev/null"])
    func noLibrary(name: String) async throws {
        let folder = try TemporaryFolder()
        _ = try await Program.shell("mkdir $D/folder; mkfifo $D/fifo; echo text >$D/text", folder)
        let path = name.hasPrefix("/") ? name : folder.path(name).path
        expectError(try await Program.run(["kernels", "--library", path]), path, "cannot be loaded")
        expectError(
            try await Program.shell("GLIM_KERNELS=\(path) $GLIM doctor", folder), "GLIM_KERNELS: \(path)",
            "cannot be loaded")
    }

    @Test(
        "GLIM_KERNELS of no table is one error, whatever the command", arguments: ["doctor", "inspect --preset nano"])
    func unknown(command: String) async throws {
        let output = try await Program.shell("GLIM_KERNELS=avx3 $GLIM \(command)", try TemporaryFolder())
        expectError(output, "GLIM_KERNELS: 'avx3'", "portable")
    }

    @Test("a library that computes other numbers computes nothing") func differs() async throws {
        let folder = try TemporaryFolder()
        let library = try await mistaken("WRONG_PRODUCT", in: folder)
        let generate = "$GLIM generate --model \(Golden.model("sparse")) --tokens 1,2,3"
        expectError(
            try await Program.shell("GLIM_KERNELS=\(library) \(generate)", folder), "computes other numbers",
            "glim kernels --library \(library)")
    }

    private func expectError(
        _ output: Program.Output, _ says: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(output.status == 1 && output.stdout.isEmpty, "\(output.text)", sourceLocation: sourceLocation)
        #expect(output.stderr.hasPrefix("error: "), "\(output.stderr)", sourceLocation: sourceLocation)
        #expect(output.stderr.split(separator: "\n").count == 1, "\(output.stderr)", sourceLocation: sourceLocation)
        for part in says {
            #expect(output.stderr.contains(part), "\(part): \(output.stderr)", sourceLocation: sourceLocation)
        }
    }
}
