// A sentence for every event type, in both languages. `[…]` is left out unless all that it names is known;
// `{name|kind}` is a fact told as a word of that kind, as a time, a length of time, a customer or a partner company.

import { language, t, word } from './i18n.js';
import { duration, whenText } from './format.js';
import { customerName, partnerName } from './names.js';

export const SENTENCES = {
  'kept.case.v1.CaseOpened': [
    'case',
    '{classification.kind|case_kind} opened[ by {channel|channel}][, priority {priority|priority}]',
    '受理{classification.kind|case_kind}[，来自{channel|channel}][，优先级{priority|priority}]',
  ],
  'kept.case.v1.CaseAcknowledged': [
    'case',
    'Taken in hand',
    '已接手',
  ],
  'kept.case.v1.CaseAssigned': [
    'case',
    'Assigned[ to team {team}][ to partner {partner}][, {assignee}]',
    '已分派[给班组 {team}][给合作伙伴 {partner}][，{assignee} 负责]',
  ],
  'kept.case.v1.CaseHeld': [
    'case',
    'Put on hold, waiting for {waiting_for|waiting_for}[: {reason}]',
    '已挂起，等待{waiting_for|waiting_for}[：{reason}]',
  ],
  'kept.case.v1.CaseResumed': [
    'case',
    'Work resumed[: {reason}]',
    '恢复处理[：{reason}]',
  ],
  'kept.case.v1.CaseResolved': [
    'case',
    'Resolved[: {reason}]',
    '已解决[：{reason}]',
  ],
  'kept.case.v1.CaseReopened': [
    'case',
    'Reopened[: {reason}]',
    '重新打开[：{reason}]',
  ],
  'kept.case.v1.CaseClosed': [
    'case',
    'Closed[; the customer confirmed{customer_confirmed|silent}][: {reason}]',
    '已关闭[，客户已确认{customer_confirmed|silent}][：{reason}]',
  ],
  'kept.case.v1.CaseCancelled': [
    'case',
    'Cancelled by the customer[: {reason}]',
    '客户取消[：{reason}]',
  ],
  'kept.case.v1.CaseRejected': [
    'case',
    'Rejected[: {reason}]',
    '已驳回[：{reason}]',
  ],
  'kept.case.v1.CasePrioritized': [
    'case',
    'Priority set to {priority|priority}[: {reason}]',
    '优先级改为{priority|priority}[：{reason}]',
  ],
  'kept.case.v1.CaseClassified': [
    'case',
    'Classified as {classification.kind|case_kind}[, {classification.category}][, {classification.subcategory}][, {classification.symptom}]',
    '归类为{classification.kind|case_kind}[，{classification.category}][，{classification.subcategory}][，{classification.symptom}]',
  ],
  'kept.case.v1.NoteAdded': [
    'note',
    'Note added ({audience|note_audience})',
    '添加备注（{audience|note_audience}）',
  ],
  'kept.case.v1.ProblemOpened': [
    'problem',
    'Problem recorded[: {title}][, expected until {expected_until|when}]',
    '记录问题[：{title}][，预计 {expected_until|when} 恢复]',
  ],
  'kept.case.v1.RootCauseFound': [
    'problem',
    'Root cause found: {cause}[; expected until {expected_until|when}]',
    '找到根本原因：{cause}[；预计 {expected_until|when} 恢复]',
  ],
  'kept.case.v1.CaseLinked': [
    'problem',
    'Case linked to a problem',
    '工单关联到问题',
  ],
  'kept.case.v1.ProblemResolved': [
    'problem',
    'Problem resolved[: {remedy}]',
    '问题已解决[：{remedy}]',
  ],
  'kept.case.v1.ProblemClosed': [
    'problem',
    'Problem closed[: {reason}]',
    '问题已关闭[：{reason}]',
  ],
  'kept.case.v1.CustomerAffected': [
    'problem',
    'Affected by a problem[ with {product}][ since {began_at|when}]',
    '受到问题影响[：{product}][，自 {began_at|when} 起]',
  ],
  'kept.case.v1.AffectedRetracted': [
    'problem',
    'Not affected by the problem after all',
    '确认未受该问题影响',
  ],
  'kept.customer.v1.PartyRegistered': [
    'customer',
    'Registered as {kind|party_kind}',
    '登记为{kind|party_kind}',
  ],
  'kept.customer.v1.ContactChanged': [
    'customer',
    'Contact details changed',
    '联系方式已变更',
  ],
  'kept.customer.v1.PreferencesChanged': [
    'customer',
    'Preferences changed[: language {preferences.language}][, zone {preferences.time_zone}]',
    '偏好已变更[：语言 {preferences.language}][，时区 {preferences.time_zone}]',
  ],
  'kept.customer.v1.CustomerRegistered': [
    'customer',
    'Became a customer[, stage {stage|customer_stage}]',
    '成为客户[，阶段：{stage|customer_stage}]',
  ],
  'kept.customer.v1.CustomerStageEntered': [
    'customer',
    'Entered the stage {stage|customer_stage}[: {reason}]',
    '进入“{stage|customer_stage}”阶段[：{reason}]',
  ],
  'kept.customer.v1.ConsentGiven': [
    'customer',
    'Consented to messages about {purpose|consent_purpose}',
    '同意接收{purpose|consent_purpose}类消息',
  ],
  'kept.customer.v1.ConsentWithdrawn': [
    'customer',
    'Withdrew consent to messages about {purpose|consent_purpose}',
    '撤回对{purpose|consent_purpose}类消息的同意',
  ],
  'kept.customer.v1.ItemInstalled': [
    'customer',
    '{product} installed[, serial {serial}][, warranty until {warranty_until|when}]',
    '安装 {product}[，序列号 {serial}][，保修至 {warranty_until|when}]',
  ],
  'kept.customer.v1.ItemStageEntered': [
    'customer',
    'An item’s product entered the stage {product_stage|product_stage}',
    '设备所属产品进入{product_stage|product_stage}',
  ],
  'kept.customer.v1.ItemRemoved': [
    'customer',
    'An item was removed[: {reason}]',
    '设备已移除[：{reason}]',
  ],
  'kept.customer.v1.DealLost': [
    'customer',
    'A deal was lost to {reason|loss_reason}: {subject}',
    '因{reason|loss_reason}丢失生意：{subject}',
  ],
  'kept.sla.v1.CalendarPublished': [
    'promise',
    'Calendar {name} published, version {version}',
    '发布日历 {name} 第 {version} 版',
  ],
  'kept.sla.v1.PolicyPublished': [
    'promise',
    'Policy {name} published, version {version}',
    '发布策略 {name} 第 {version} 版',
  ],
  'kept.sla.v1.ClockArmed': [
    'promise',
    'Promised: {target|target_kind} by {due_at|when} ({budget_s|duration} of service time)',
    '作出承诺：{due_at|when} 前{target|target_kind}（服务时间 {budget_s|duration}）',
  ],
  'kept.sla.v1.ClockReplanned': [
    'promise',
    'Deadline moved to {due_at|when}[; {used_s|duration} used so far]',
    '时限调整为 {due_at|when}[，已用 {used_s|duration}]',
  ],
  'kept.sla.v1.ThresholdReached': [
    'promise',
    'Warning: {percent} % of the time is used[, due {due_at|when}]',
    '预警：时间已用 {percent}%[，时限 {due_at|when}]',
  ],
  'kept.sla.v1.VerdictReached': [
    'promise',
    'Promise {outcome|outcome_said}[; {used_s|duration} of {budget_s|duration} used]',
    '承诺{outcome|outcome_said}[：已用 {used_s|duration}，限 {budget_s|duration}]',
  ],
  'kept.sla.v1.VerdictCorrected': [
    'promise',
    'Late news: the promise was {outcome|outcome_said} after all',
    '因迟到的消息更正：承诺实为{outcome|outcome_said}',
  ],
  'kept.partner_network.v1.PartnerRegistered': [
    'visit',
    'Partner company registered[: {name}]',
    '登记合作伙伴[：{name}]',
  ],
  'kept.partner_network.v1.PartnerAdmitted': [
    'visit',
    'Partner admitted[: {reason}]',
    '合作伙伴准入[：{reason}]',
  ],
  'kept.partner_network.v1.PartnerPutOnProbation': [
    'visit',
    'Partner put on probation[: {reason}]',
    '合作伙伴进入试用[：{reason}]',
  ],
  'kept.partner_network.v1.PartnerSuspended': [
    'visit',
    'Partner suspended[: {reason}]',
    '合作伙伴暂停[：{reason}]',
  ],
  'kept.partner_network.v1.AgreementSigned': [
    'visit',
    'Agreement {number} signed',
    '签署协议 {number}',
  ],
  'kept.partner_network.v1.AgreementEnded': [
    'visit',
    'Agreement {number} ended[: {reason}]',
    '协议 {number} 终止[：{reason}]',
  ],
  'kept.partner_network.v1.ServicePointOpened': [
    'visit',
    'Service point opened[: {name}]',
    '服务网点开业[：{name}]',
  ],
  'kept.partner_network.v1.ServicePointClosed': [
    'visit',
    'Service point closed[: {reason}]',
    '服务网点关闭[：{reason}]',
  ],
  'kept.partner_network.v1.WorkOrderOffered': [
    'visit',
    'Visit offered to {partner_ids|partners}[, between {window.from|when} and {window.until|when}][; answer until {expires_at|when}]',
    '向 {partner_ids|partners} 发出上门邀约[，时段 {window.from|when} 至 {window.until|when}][，答复期限 {expires_at|when}]',
  ],
  'kept.partner_network.v1.WorkOrderReoffered': [
    'visit',
    'Visit offered again, round {round}, to {partner_ids|partners}[; answer until {expires_at|when}]',
    '第 {round} 轮上门邀约，发给 {partner_ids|partners}[，答复期限 {expires_at|when}]',
  ],
  'kept.partner_network.v1.WorkOrderAccepted': [
    'visit',
    '{partner_name} accepted the visit[: arrival between {arrival.from|when} and {arrival.until|when}]',
    '{partner_name} 接受上门[：{arrival.from|when} 至 {arrival.until|when} 到达]',
  ],
  'kept.partner_network.v1.WorkOrderDeclined': [
    'visit',
    '{partner_id|partners} declined the visit[: {reason}]',
    '{partner_id|partners} 谢绝上门[：{reason}]',
  ],
  'kept.partner_network.v1.TechnicianArrived': [
    'visit',
    'The technician arrived',
    '工程师已到场',
  ],
  'kept.partner_network.v1.WorkOrderCompleted': [
    'visit',
    'The visit is done[: {outcome}]',
    '上门完工[：{outcome}]',
  ],
  'kept.partner_network.v1.WorkOrderCancelled': [
    'visit',
    'The visit was cancelled[: {reason}]',
    '上门取消[：{reason}]',
  ],
  'kept.partner_network.v1.OfferExpired': [
    'visit',
    'Nobody accepted the visit in time[ (round {round})]',
    '无人按时接单[（第 {round} 轮）]',
  ],
  'kept.notification.v1.RuleSetPublished': [
    'notice',
    'Notice rules {name} published, version {version}',
    '发布通知规则 {name} 第 {version} 版',
  ],
  'kept.notification.v1.NoticePlanned': [
    'notice',
    'Notice planned: {occasion|occasion}[, not before {not_before|when}]',
    '拟定通知：{occasion|occasion}[，{not_before|when} 之后发送]',
  ],
  'kept.notification.v1.NoticeCancelled': [
    'notice',
    'Notice cancelled[: {reason|cancel_reason}]',
    '通知取消[：{reason|cancel_reason}]',
  ],
  'kept.notification.v1.NoticeSent': [
    'notice',
    'Customer told by {channel|channel}: {occasion|occasion}',
    '已通过{channel|channel}告知客户：{occasion|occasion}',
  ],
  'kept.notification.v1.NoticeFailed': [
    'notice',
    'A notice could not be delivered: {occasion|occasion}',
    '通知未能送达：{occasion|occasion}',
  ],
  'kept.cell.v1.HistoryStarted': [
    'cell',
    'The cell entered history mode',
    '系统进入历史模式',
  ],
  'kept.cell.v1.TimeAdvanced': [
    'cell',
    'Time moved to {now|when}',
    '时间推进到 {now|when}',
  ],
  'kept.cell.v1.PolicyDeployed': [
    'cell',
    'From here on {name} {version} decides',
    '自此由 {name} {version} 作决定',
  ],
  'kept.cell.v1.ParkedKeyReleased': [
    'cell',
    'An operator let {follower} go on[: {reason}]',
    '运维人员让 {follower} 继续[：{reason}]',
  ],
  'kept.cell.v1.EpochStarted': [
    'cell',
    'The cell was restored from a back-up of position {restored_to}; epoch {epoch} begins[: {reason}]',
    '系统已从位置 {restored_to} 的备份恢复，第 {epoch} 纪元开始[：{reason}]',
  ],
  'kept.cell.v1.PositionLost': [
    'cell',
    'What was recorded here was lost before epoch {epoch}',
    '此处的记录在第 {epoch} 纪元之前已丢失',
  ],
  'kept.cell.v1.KeysDestroyed': [
    'cell',
    'A person’s data was erased for good',
    '某人的个人数据已被永久抹除',
  ],
};

const OUTCOMES = { kept: ['kept', '已兑现'], broken: ['broken', '未兑现'], released: ['released', '已解除'] };
const TOLD = {
  when: whenText,
  duration: (value) => duration(value),
  partners: (value) => value.split(', ').map(partnerName).join(t('comma')),
  customer: customerName,
  outcome_said: (value) => OUTCOMES[value]?.[language() === 'en' ? 0 : 1] ?? value,
  silent: () => '',
};

// What happened, as a person would say it.
export function sentence(type, facts = {}) {
  const found = SENTENCES[type];
  if (!found) return t('timeline.unknown', { type: type.split('.').pop() });
  const template = found[language() === 'en' ? 1 : 2];
  const known = (part) => needs(part).every((name) => facts[name]);
  return filled(template.replace(/\[([^\]]*)\]/g, (_, part) => (known(part) ? part : '')), facts);
}

export const group = (type) => SENTENCES[type]?.[0] ?? 'cell';

const needs = (part) => [...part.matchAll(/\{([\w.]+)/g)].map((found) => found[1]);

function filled(text, facts) {
  return text.replace(/\{([\w.]+)(?:\|(\w+))?\}/g, (_, name, kind, at) => {
    const value = facts[name];
    if (!value) return t('state.unknown');
    if (!kind) return value;
    return TOLD[kind] ? TOLD[kind](value) : within(word(kind, value), at);
  });
}

// A word begins small within an English sentence, unless it is a name such as SMS or WeChat.
function within(name, at) {
  return at === 0 || language() !== 'en' || /[A-Z]/.test(name.slice(1)) ? name : name[0].toLowerCase() + name.slice(1);
}
