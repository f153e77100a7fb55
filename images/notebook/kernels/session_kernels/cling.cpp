// Loaded into the C++ interpreter before libstdc++: notes what is thrown and shown, for cpp_worker.py.
#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <typeinfo>

static char name[256], what[4096];
static std::string value;

static void note(const std::type_info *type, void *thrown)
{
    int status;
    char *readable = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
    std::snprintf(name, sizeof name, "%s", readable ? readable : type->name());
    std::free(readable);
    what[0] = 0;
    if (typeid(std::exception).__do_catch(type, &thrown, 1))
        std::snprintf(what, sizeof what, "%s", static_cast<std::exception *>(thrown)->what());
}

extern "C" {
void __cxa_throw(void *thrown, void *type, void (*destroy)(void *))
{
    using Throw = void (*)(void *, void *, void (*)(void *));
    static const auto real = reinterpret_cast<Throw>(dlsym(RTLD_NEXT, "__cxa_throw"));
    note(static_cast<std::type_info *>(type), thrown);
    real(thrown, type, destroy);
    __builtin_unreachable();
}

/* The name of the type last thrown, "" for none, and its what(). */
const char *session_thrown() { return name; }
const char *session_what() { return what; }

/* Forget what was thrown and shown before; an input that had ended may go on. */
void session_fresh()
{
    std::clearerr(stdin);
    name[0] = what[0] = 0;
    value.clear();
}

/* The value of a cell's last expression, as text. */
void session_show(const char *text) { value = text; }
const char *session_value() { return value.c_str(); }
}
