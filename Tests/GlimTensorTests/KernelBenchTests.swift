import GlimTensor
import GlimTestSupport
import Testing

@Suite("kernel bench") struct KernelBenchTests {
    @Test(
        "each kind of product is measured beside its roof",
        arguments: [
            BenchedProduct(.forward, 40, 48, 64, bar: .ofRoof(0.9)),
            BenchedProduct(.pairs, 40, 48, 64, .bf16, bar: .timesF32(1.85)),
            BenchedProduct(.streaming, 2, 4096, 4096, .bf16, roof: .bandwidth, bar: .ofRoof(0.9)),
            BenchedProduct(.streaming, 32, 4096, 4096, bar: .ofRoof(0.8)),
            BenchedProduct(.inputGradient, 40, 48, 64, bar: .ofRoof(0.9)),
            BenchedProduct(.weightGradient, 40, 48, 64, bar: .ofRoof(0.9)),
            BenchedProduct(.weightGradient, 40, 48, 64, .bf16, bar: .ofRoof(0.9)),
            BenchedProduct(.forward, 40, 48, 200, .int8, bar: .ofRoof(0.9)),
            BenchedProduct(.streaming, 2, 4096, 4096, .int4, roof: .bandwidth, bar: .ofRoof(0.9)),
            BenchedProduct(.attention, 3, 8, 70, bar: .ofRoof(0.9)),
        ])
    func measures(product: BenchedProduct) {
        let result = Machine.alone { product.measure(seconds: 0) }
        #expect(result.rate > 0 && result.roof > 0 && result.ofRoof > 0 && result.ofRoof.isFinite)
        #expect((result.timesF32 != nil) == (product.bar == .timesF32(1.85)))
    }

    @Test("the table has no product twice") func table() {
        for products in [KernelBench.products, KernelBench.glance] {
            #expect(Set(products.map(\.name)).count == products.count)
        }
    }
}
