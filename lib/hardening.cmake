# What makes an exploit harder, for the library and the programs of this tree; tests/hardening/check.py
# looks whether it is in what was built. All of it is private to this tree: whoever links weft keeps
# the flags of its own choice.
if(NOT WEFT_HARDENING)
    return()
endif()
include(CheckCCompilerFlag)
# The last, for x86 alone, marks the objects as fit for shadow stacks, which takes no instruction. Its
# other half, IBT, Linux has for the kernel only, and landing pads are instructions on every request.
foreach(flag IN ITEMS -fstack-protector-strong -fstack-clash-protection -fcf-protection=return)
    string(MAKE_C_IDENTIFIER "WEFT_HAS${flag}" has)
    check_c_compiler_flag(${flag} ${has})
    if(${has})
        target_compile_options(weft_flags INTERFACE ${flag})
    endif()
endforeach()
# Needs an optimising compiler; the sanitizers look at more than it does.
if(NOT WEFT_SANITIZE AND NOT WEFT_COVERAGE)
    target_compile_options(weft_flags INTERFACE
        "$<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=2>")
endif()
target_link_options(weft_flags INTERFACE LINKER:-z,relro,-z,now,-z,noexecstack)
