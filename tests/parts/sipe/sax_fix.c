/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lets the SIPE plugin parse XML with Debian's libxml2 2.9.14. That build takes the SAX2 way as
 * soon as a handler carries the SAX2 mark, even when only the SAX1 element functions are set, which
 * is what the plugin does: it would get an empty document for every text. This definition stands
 * before the library's and hands such a handler on as a copy without the mark.
 */
#include <dlfcn.h>
#include <libxml/parser.h>

typedef int (*parse_fn)(xmlSAXHandlerPtr, void *, const char *, int);

static int is_sax1_in_disguise(const xmlSAXHandler *sax)
{
    return sax && sax->initialized == XML_SAX2_MAGIC && !sax->startElementNs &&
           !sax->endElementNs && (sax->startElement || sax->endElement);
}

int xmlSAXUserParseMemory(xmlSAXHandlerPtr sax, void *user_data, const char *buffer, int size)
{
    parse_fn next;
    void *symbol = dlsym(RTLD_NEXT, "xmlSAXUserParseMemory");

    /* ISO C has no cast from an object pointer to a function; POSIX promises the bits are the same.
     */
    *(void **)&next = symbol;
    if (!next)
        return XML_ERR_INTERNAL_ERROR;
    if (!is_sax1_in_disguise(sax))
        return next(sax, user_data, buffer, size);

    xmlSAXHandler plain = *sax;
    plain.initialized = 1;
    return next(&plain, user_data, buffer, size);
}
