import Foundation
import GlimTensor
import GlimTestSupport
import Testing

@Suite("kernel tables") struct KernelTableTests {
    @Test("every kernel has its name, once, and a built-in table has every kernel") func names() {
        let names = KernelTable.kernelNames
        #expect(Set(names).count == names.count && names.first == "matmul_f32" && names.last == "probe_int8")
        #expect(KernelTable.builtIn.map(\.name) == KernelSet.available)
        for table in KernelTable.builtIn { #expect(table.given == names && table.file == nil) }
    }

    @Test("a name gives its table, and an unknown one an error that knows the others") func choice() throws {
        #expect(try KernelTable("portable").name == "portable")
        #expect(throws: KernelTableError.unknown("avx3", known: KernelSet.available)) { try KernelTable("avx3") }
        #expect(throws: KernelTableError.self) { try KernelTable("") }
    }

    @Test("the reference meets itself within its buffers, and each call is told before it begins") func check() throws {
        try withTemporaryFolder { folder in
            let file = folder.appending(path: "progress").path
            let (writer, reader) = (try KernelProgress(file: file), try KernelProgress(file: file))
            writer.note("loading")
            #expect(reader.text == "loading")
            let long = String(repeating: "é", count: 500)
            writer.note(long, long)
            #expect(reader.text.count < 300)
            #expect(try KernelTable("portable").check(progress: writer) == [])
            #expect(reader.text.hasPrefix("index_scores") || reader.text.hasPrefix("attention"), "\(reader.text)")
        }
    }
}
