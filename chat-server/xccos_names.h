/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every name XCCOS puts on the wire, in one place: parts of the protocol are known from traffic
 * and other clients' sources only, so a name may have to be corrected. Only xccos.c and
 * xccos_write.c include this.
 */
#ifndef CHAT_XCCOS_NAMES_H
#define CHAT_XCCOS_NAMES_H

/* Envelope. */
#define XN_NAMESPACE "urn:parlano:xml:ns:xccos"
#define XN_ROOT      "xccos"
#define XN_ENVID     "envid"
#define XN_CMD       "cmd"
#define XN_RPL       "rpl"
#define XN_NTC       "ntc"
#define XN_GRPCHAT   "grpchat"
#define XN_ID        "id"
#define XN_SEQID     "seqid"
#define XN_DATA      "data"
#define XN_COMMANDID "commandid"
#define XN_RESP      "resp"
#define XN_CODE      "code"

/* Blocks. */
#define XN_CHANID      "chanid"
#define XN_CHANIB      "chanib"
#define XN_UIB         "uib"
#define XN_AIB         "aib"
#define XN_FIB         "fib"
#define XN_QIB         "qib"
#define XN_BCQ         "bcq"
#define XN_LAST        "last"
#define XN_CNT         "cnt"
#define XN_SIB         "sib"
#define XN_INFO        "info"
#define XN_PROP        "prop"
#define XN_MSG         "msg"
#define XN_CHAT        "chat"
#define XN_KEY         "key"
#define XN_VALUE       "value"
#define XN_DOMAIN      "domain"
#define XN_URI         "uri"
#define XN_NAME        "name"
#define XN_DESCRIPTION "description"
#define XN_CRITERIA    "criteria"
#define XN_DISP        "disp"
#define XN_UNAME       "uname"
#define XN_TYPE        "type"

/* A message. recordSeq is ours: the record's number in its stream, by which people cite it. */
#define XN_CHATID    "chatId"
#define XN_CHANURI   "chanUri"
#define XN_AUTHOR    "author"
#define XN_AUTHDISP  "authdisp"
#define XN_ALERT     "alert"
#define XN_TS        "ts"
#define XN_RECORDSEQ "recordSeq"

/* Server information. */
#define XN_INFOTYPE    "infoType"
#define XN_SERVERTIME  "serverTime"
#define XN_SEARCHLIMIT "searchLimit"
#define XN_SIZELIMIT   "messageSizeLimit"
#define XN_STORYLIMIT  "storySizeLimit"
#define XN_ROOTURI     "rootUri"
#define XN_DBVERSION   "dbVersion"

/* The misspelt one is what clients look for. */
#define XN_INFO_USERS      "urn:parlano:ma:info:ucnt"
#define XN_INFO_VISIBLITY  "urn:parlano:ma:info:visibilty"
#define XN_INFO_VISIBILITY "urn:parlano:ma:info:visibility"
#define XN_PROP_LOGGED     "urn:parlano:ma:prop:logged"
#define XN_PROP_INVITE     "urn:parlano:ma:prop:invite"
#define XN_PROP_FILEPOST   "urn:parlano:ma:prop:filepost"

#define XN_ROOM_SCHEME "ma-chan://"
#define XN_FAILED      "OPERATION_FAILED"
#define XN_MEMBER_MASK "3984" /* manage bits of a member; clients compare the text */
#define XN_USER_TYPE   "5"
#define XN_SERVER_TYPE "4"
#define XN_NTC_JOIN    "ntc:join"
#define XN_NTC_BJOIN   "ntc:bjoin"
#define XN_NTC_PART    "ntc:part"
#define XN_ROOT_ID     "00000000-0000-4000-8000-000000000001"

#endif
