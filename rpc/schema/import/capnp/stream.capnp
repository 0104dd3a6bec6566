# What `-> stream` compiles to. Same ids as the file that comes with the Cap'n Proto tool; here because some
# packages of the tool leave it out.
@0x86c366a91393f3f8;

struct StreamResult @0x995f9a3377c0b16e {
}
