import Foundation
import GlimTensor
import GlimTestSupport
import Testing

@Suite("kernel tables") struct KernelTableTests {
    @Test("every kernel has its name, once, and a built-in table has every kernel") func names() {
        let names = KernelTable.kernelNames
        #expect(Set(names).count == names.count && names.first == "matmul_f32" && names.last == "probe_int8")
        #expect(KernelTable.builtIn.map(\.name) == KernelSet.available)
        for table in KernelTable.builtIn {
            #expect(table.given == names && table.file == nil)
            #expect(table.multipliesBF16 == (table.name == "avx512bf16"))
        }
    }

    @Test("a name gives its table, and an unknown one an error that knows the others") func choice() throws {
        #expect(try KernelTable("portable").name == "portable")
        #expect(throws: KernelTableError.unknown("avx3", known: KernelSet.available)) { try KernelTable("avx3") }
        #expect(throws: KernelTableError.self) { try KernelTable("") }
    }

    @Test("one who shares the file learns what was noted last") func progress() throws {
        try withTemporaryFolder { folder in
            let file = folder.appending(path: "progress").path
            let (writer, reader) = (try KernelProgress(file: file), try KernelProgress(file: file))
            writer.note("loading")
            #expect(reader.text == "loading")
            let long = String(repeating: "é", count: 500)
            writer.note(long, long)
            #expect(reader.text.utf8.count < 300)
            writer.note("timing", "1 x 2 x 3")
            #expect(reader.text == "timing, 1 x 2 x 3")
        }
    }
}
