import Foundation
import GlimModel
import GlimTensor
import GlimTestSupport
import Testing

@Suite("arithmetic of a build") struct ArithmeticTests {
    @Test("is the same at any number of threads, in every run", arguments: 1...3) func threads(count: Int) {
        Machine.alone(threads: count) { #expect(Model.measuredArithmetic() == Model.arithmetic) }
    }

    @Test("is the same by every table of kernels", arguments: KernelSet.available) func tables(name: String) async {
        await #expect(processExitsWith: .success) {
            [name = name as String, expected = Model.arithmetic as UInt64] in
            setenv("GLIM_KERNELS", name, 1)
            #expect(KernelSet.name == name && Model.arithmetic == expected)
        }
    }
}
