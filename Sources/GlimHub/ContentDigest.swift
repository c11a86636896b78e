import Crypto

/// The name of a content, of which the bytes come one after another.
struct ContentDigest {
    // One of them.
    private var large: SHA256?
    private var blob: Insecure.SHA1?

    /// - Parameter size: of the whole content in bytes, which git's names begin with.
    init(like name: ContentName, size: Int) {
        switch name {
        case .sha256: large = SHA256()
        case .gitBlob:
            blob = Insecure.SHA1()
            blob?.update(data: Array("blob \(size)\0".utf8))
        }
    }

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        large?.update(bufferPointer: bytes)
        blob?.update(bufferPointer: bytes)
    }

    /// Of the bytes so far, in hexadecimal.
    var text: String {
        let bytes = large.map { Array($0.finalize()) } ?? blob.map { Array($0.finalize()) } ?? []
        let digits = Array("0123456789abcdef")
        return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
}
